"""The vendor rooms of this version. A new vendor is its room and a line here."""

from __future__ import annotations

from collections.abc import Mapping

from agent.connectors import antavo, monetary, mparticle, voucherify, voyado
from agent.connectors.antavo import feeds as antavo_feeds
from agent.connectors.antavo.settings import AntavoSettings
from agent.connectors.base import Cache, Owner, Room
from agent.connectors.monetary.settings import MonetarySettings
from agent.connectors.mparticle.settings import MparticleSettings
from agent.connectors.voucherify import feeds as voucherify_feeds
from agent.connectors.voucherify.settings import VoucherifySettings
from agent.connectors.voyado import feeds as voyado_feeds
from agent.connectors.voyado.settings import VoyadoSettings
from agent.settings import VendorSection

ROOMS: Mapping[str, Room] = {
    voyado.NAME: Room(
        VoyadoSettings,
        voyado.build,
        Owner(
            voyado_feeds.open_feed,
            guid_contact_ids=True,
            misnamed=voyado.misnamed,
            matches_later=True,
            benefits=voyado.benefits_of,
            redeemer=voyado.redemptions_of,
            bulk=voyado.bulk_of,
            bulk_changes=voyado.bulk_changes_of,
        ),
    ),
    mparticle.NAME: Room(
        MparticleSettings,
        mparticle.build,
        activities=mparticle.activities_of,
        shares=mparticle.shares,
    ),
    antavo.NAME: Room(
        AntavoSettings,
        antavo.build,
        Owner(
            antavo_feeds.open_feed,
            benefits=antavo.benefits_of,
            redeemer=antavo.redemptions_of,
            preview=antavo.preview_of,
        ),
        activities=antavo.activities_of,
        shares=antavo.shares,
        folder=antavo.folder_of,
        handed_over=antavo.handed_over_by,
    ),
    voucherify.NAME: Room(
        VoucherifySettings,
        voucherify.build,
        Owner(
            voucherify_feeds.open_feed,
            benefits=voucherify.benefits_of,
            redeemer=voucherify.redemptions_of,
            preview=voucherify.preview_of,
        ),
        activities=voucherify.activities_of,
        shares=voucherify.shares,
    ),
    monetary.NAME: Room(
        MonetarySettings,
        monetary.build,
        Owner(
            Cache(monetary.fresh_for, monetary.seed_of),
            benefits=monetary.benefits_of,
            redeemer=monetary.redemptions_of,
        ),
        activities=monetary.activities_of,
        shares=monetary.shares,
    ),
}


def settings_models() -> dict[str, type[VendorSection]]:
    """The settings model of each room, as :func:`agent.settings.load` takes them."""
    return {name: room.settings for name, room in ROOMS.items()}
