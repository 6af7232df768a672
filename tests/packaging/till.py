"""What a till does inside the container, with nothing but Python: sells, and counts what the agent keeps."""

import json
import sys
import urllib.request

URL = "http://127.0.0.1:8787/v1"


def sell(token, first, count):
    """Posts sales with ids in a row; how many were taken."""
    taken = 0
    for number in range(int(first), int(first) + int(count)):
        sale = {
            "transaction_id": f"1042-03-{number}", "type": "purchase", "occurred_at": "2026-11-21T12:00:00+01:00",
            "currency": "SEK", "total": "10.00", "identifier": {"type": "mobile_phone", "value": "+46701740605"},
            "lines": [{"kind": "purchase", "sku": "SK-1", "quantity": "1", "gross_paid": "10.00"}],
            "payments": [{"type": "card", "amount": "10.00"}],
        }  # fmt: skip
        taken += call(token, "/transactions", sale)[0] == 202
    return taken


def kept(token, first, count):
    """How many of these the agent knows."""
    found = 0
    for number in range(int(first), int(first) + int(count)):
        found += call(token, f"/transactions/1042-03-{number}")[1]["state"] == "queued"
    return found


def call(token, path, body=None):
    """Status and answer."""
    request = urllib.request.Request(
        URL + path,
        json.dumps(body).encode() if body else None,
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.status, json.load(answer)


if __name__ == "__main__":
    print({"sell": sell, "kept": kept}[sys.argv[1]](*sys.argv[2:]))
