"""The core: values in, values out. No disk, no network, no clock; tested without any of them."""
