"""The contact export: what is in it, how it is cut into files, and how the files can be spoiled."""

import re
import time
from xml.etree import ElementTree as ET

import pytest

NAME = re.compile(r"(\d{14})_(\d+)_members\.xml")


def read(paths):
    """(kind, member) of every file in turn, by local names."""
    rows = []
    for path in paths:
        root = ET.fromstring(path.read_bytes())
        for container in root:
            for member in container:
                fields = {child.tag.rpartition("}")[2]: child.text for child in member}
                rows.append((container.tag.rpartition("}")[2], fields))
    return rows


def ids(paths, kind=None):
    return [row["contactId"] for found, row in read(paths) if kind in (None, found)]


async def change(tenant, contact, **attributes):
    answer = await tenant.http.patch(f"/api/v3/contacts/{contact['id']}", json=attributes)
    assert answer.status_code == 200


async def test_nothing_changed_no_file(tenant):
    """A run without changes writes nothing; a seeded membership is no change."""
    tenant.sim.seed(10)
    tenant.sim.advance(3 * 3600)
    assert not tenant.sim.exports.folder.exists()


async def test_the_job_runs_on_its_interval(tenant):
    """A change appears in a file at the next full interval, with the tenant's time in its name."""
    contact = await tenant.member(source="POS")
    tenant.sim.advance(3599)
    assert not tenant.sim.exports.folder.exists()
    tenant.sim.advance(1)
    (path,) = tenant.sim.exports.folder.iterdir()
    assert path.name == "20260216120000_0_members.xml"
    assert path.parent == tenant.sim.settings.root / "integration" / "customerExport"
    assert ids([path], "new") == [contact["id"]]
    assert path.read_text("utf-8").startswith('<?xml version="1.0" encoding="utf-8"?>\n<contacts xmlns="http://eClub.')


async def test_changes_within_one_interval_are_told_as_one(tenant):
    """Created and changed is new with the final values, created and deleted is nothing, changed twice is one update."""
    old = await tenant.member(mobilePhone="+46701740610")
    gone = await tenant.member(mobilePhone="+46701740611")
    tenant.sim.export_now()
    fresh = await tenant.member()
    await change(tenant, fresh, city="Provköping")
    fleeting = await tenant.member(mobilePhone="+46701740612")
    await tenant.http.delete(f"/api/v3/contacts/{fleeting['id']}")
    await change(tenant, old, city="Ett")
    await change(tenant, old, city="Två")
    await change(tenant, gone, city="Tre")
    await tenant.http.delete(f"/api/v3/contacts/{gone['id']}")
    rows = read(tenant.sim.export_now())
    assert [(kind, row["contactId"]) for kind, row in rows] == [
        ("new", fresh["id"]),
        ("updated", old["id"]),
        ("deleted", gone["id"]),
    ]
    assert [row.get("city") for _, row in rows] == ["Provköping", "Två", None]
    assert rows[2][1] == {"contactId": gone["id"], "memberNumber": "10000001"}
    assert tenant.sim.export_now() == []


async def test_only_members_are_exported(tenant):
    """A contact of another type is in no file, full or delta."""
    await tenant.member(contactType="Contact", email="alma.ekvall@example.com")
    assert tenant.sim.export_now() == []
    assert tenant.sim.export_full() == []


async def test_an_unchanged_write_is_no_change(tenant):
    """Writing the values that are there already exports nothing."""
    contact = await tenant.member(city="Exempelstad")
    tenant.sim.export_now()
    await change(tenant, contact, city="Exempelstad")
    assert tenant.sim.export_now() == []


async def test_a_restored_member_is_new_again(tenant):
    """A contact brought back after its deletion was exported returns with its full row."""
    contact = await tenant.member()
    tenant.sim.export_now()
    await tenant.http.delete(f"/api/v3/contacts/{contact['id']}")
    assert ids(tenant.sim.export_now(), "deleted") == [contact["id"]]
    await tenant.http.post("/_sim/restore", json={"contactId": contact["id"]})
    ((kind, row),) = read(tenant.sim.export_now())
    assert (kind, row["mobilePhone"]) == ("new", "+46701740605")


@pytest.mark.parametrize("sparse", [False, True])
async def test_updates_are_full_or_sparse(open_tenant, sparse):
    """A full update carries every field, a sparse one what changed; what was cleared is present and empty."""
    tenant = await open_tenant(sparse_updates=sparse)
    contact = await tenant.member(city="Exempelstad")
    tenant.sim.export_now()
    await change(tenant, contact, city="", acceptsSms=True)
    ((_, row),) = read(tenant.sim.export_now())
    assert (row["city"], row["acceptsSms"]) == (None, "true")
    assert set(row) >= {"contactId", "memberNumber"}
    assert ("firstName" in row) is not sparse


async def test_files_are_split_and_each_has_its_own_timestamp(open_tenant):
    """A full export is cut at the limit, numbered from 0 without padding, each part a later second."""
    tenant = await open_tenant(split_at=10)
    tenant.sim.seed(105)
    paths = tenant.sim.export_full()
    names = [NAME.fullmatch(path.name).groups() for path in paths]
    assert [int(number) for _, number in names] == list(range(11))
    assert [number for _, number in names][-1] == "10"
    stamps = [stamp for stamp, _ in names]
    assert stamps == sorted(set(stamps))
    members = {one.contact_id for one in tenant.sim.state.members()}
    found = ids(paths, "new")
    assert len(found) == 105
    assert set(found) == members
    (again, *_) = tenant.sim.export_full()
    assert again.name[:14] > stamps[-1]


async def test_both_empty_forms_occur(tenant):
    """Absent values of a full row are written as `<x/>` for some fields and as `<x></x>` for others."""
    await tenant.member()
    (path,) = tenant.sim.export_now()
    text = path.read_text("utf-8")
    assert re.search(r"<\w+/>", text)
    assert re.search(r"<(\w+)></\1>", text)


@pytest.mark.parametrize(
    ("knobs", "there", "missing"),
    [
        pytest.param({"omit_namespace": True}, "<contacts>", "xmlns", id="no-namespace"),
        pytest.param({"container_names": {"new": "created"}}, "<created>", "<new>", id="renamed-container"),
        pytest.param({"container_names": {"new": ""}}, "<contacts xmlns", "<new>", id="no-container"),
        pytest.param({"member_element": "customer"}, "<customer source=", "<member ", id="renamed-member"),
        pytest.param({"export_fields": ("memberNumber",)}, "<memberNumber>", "<firstName>", id="fields"),
        pytest.param({"export_name": "customers"}, "<contacts", "never", id="name"),
    ],
)
async def test_the_structure_is_the_tenants(open_tenant, knobs, there, missing):
    """What a tenant's transformation may change is a knob."""
    tenant = await open_tenant(**knobs)
    await tenant.member()
    (path,) = tenant.sim.export_now()
    text = path.read_text("utf-8")
    assert there in text
    assert missing not in text
    assert path.name.endswith(f"_0_{tenant.sim.settings.export_name}.xml")


async def test_values_are_escaped(tenant):
    """Markup in a value does not break the file."""
    await tenant.member(lastName="Ek & <Vall>")
    ((_, row),) = read(tenant.sim.export_now())
    assert row["lastName"] == "Ek & <Vall>"


async def test_the_slow_writer_leaves_half_files(open_tenant):
    """In slow writer mode a file grows with each run of the jobs, the next one starting when it is whole."""
    tenant = await open_tenant(slow_writer=True, slow_writer_pieces=3, split_at=5)
    tenant.sim.seed(10)
    first, second = tenant.sim.export_full()
    sizes = []
    for _ in range(6):
        sizes.append((first.stat().st_size, second.stat().st_size if second.exists() else 0))
        tenant.sim.run_due()
    assert len(set(sizes)) == 6
    assert all(one < first.stat().st_size or two < second.stat().st_size for one, two in sizes[:5])
    assert len(ids([first, second])) == 10


async def test_uploaded_contacts_are_taken_up_and_echoed(tenant):
    """A contact file creates and updates, skips wrong fields, deletes, is removed, and comes back in the export."""
    known = await tenant.member(mobilePhone="+46701740606")
    doomed = await tenant.member(mobilePhone="+46701740608")
    tenant.sim.export_now()
    folder = tenant.sim.settings.root / "integration" / "customerImport"
    folder.mkdir(parents=True)
    (folder / "20260216110000_1042_contacts.xml").write_text(
        f"""<?xml version="1.0" encoding="utf-8"?><contacts xmlns="http://eClub.Schemas.ImportContact"><new>
        <member><externalId>EDGE-2</externalId><firstName>Bo</firstName><mobilePhone>+46701740607</mobilePhone>
        <email>not a mail</email></member>
        <member><contactId>{known["id"]}</contactId><city>Provköping</city></member>
        <member><firstName>Keyless</firstName></member></new>
        <deleted><member><contactId>{doomed["id"]}</contactId></member></deleted></contacts>""",
        "utf-8",
    )
    tenant.sim.advance(900)
    assert not list(folder.iterdir())
    bo = (await tenant.http.get("/api/v2/contacts/Member/byexternalid/EDGE-2")).json()
    assert (bo["attributes"]["firstName"], bo["attributes"]["email"]) == ("Bo", None)
    paths = tenant.sim.export_now()
    assert ids(paths, "new") == [bo["id"]]
    assert ids(paths, "updated") == [known["id"]]
    assert ids(paths, "deleted") == [doomed["id"]]
    assert ("contact skipped: ValidationError", "20260216110000_1042_contacts.xml") in await tenant.log()


@pytest.fixture
async def cut(open_tenant):
    """A tenant of 30 members whose full export is three files."""
    tenant = await open_tenant(split_at=10)
    tenant.sim.seed(30)
    return tenant


async def spoil(tenant, fault):
    answer = await tenant.http.post("/_sim/faults", json={"files": {fault: 1}})
    assert answer.json()["files"] == {fault: 1}
    names = (await tenant.http.post("/_sim/export", json={"full": True})).json()["files"]
    assert (await tenant.http.get("/_sim/faults")).json()["files"] == {}
    return [tenant.sim.exports.folder / name for name in names]


async def repair(tenant):
    return (await tenant.http.post("/_sim/export", json={"repair": True})).json()["files"]


async def test_a_truncated_file_ends_early_until_repaired(cut):
    """The last file of the run is half of itself; a repair delivers it whole under its own name."""
    *whole, half = await spoil(cut, "truncated")
    assert len(ids(whole)) == 20
    with pytest.raises(ET.ParseError):
        ids([half])
    assert await repair(cut) == [half.name]
    assert len(ids([half])) == 10


async def test_a_missing_part_leaves_a_gap_until_repaired(cut):
    """One number of the run is not there; a repair delivers it."""
    paths = await spoil(cut, "missing_part")
    assert [NAME.fullmatch(path.name)[2] for path in paths] == ["0", "2"]
    (late,) = await repair(cut)
    assert NAME.fullmatch(late)[2] == "1"
    assert len(set(ids(sorted(cut.sim.exports.folder.iterdir())))) == 30


async def test_a_duplicate_file_repeats_a_part(cut):
    """A part is there twice, the second time under a later timestamp."""
    *_, once, again = await spoil(cut, "duplicate")
    assert once.read_bytes() == again.read_bytes()
    assert NAME.fullmatch(once.name)[2] == NAME.fullmatch(again.name)[2]
    assert once.name < again.name


async def test_reordered_files_have_earlier_stamps_on_later_parts(cut):
    """By timestamp the parts come in the wrong order."""
    paths = await spoil(cut, "reordered")
    by_time = sorted(NAME.fullmatch(path.name).groups() for path in paths)
    assert [number for _, number in by_time] == ["2", "1", "0"]


async def test_a_wrongly_encoded_file_is_not_utf8(cut):
    """Names with å, ä and ö are written in Latin-1 under a UTF-8 declaration; a repair delivers UTF-8."""
    paths = await spoil(cut, "wrong_encoding")
    with pytest.raises((ET.ParseError, UnicodeDecodeError)):
        [path.read_bytes().decode() for path in paths]
    assert len(await repair(cut)) == 3
    assert len(ids(paths)) == 30


async def test_guids_and_phones_can_look_as_in_old_samples(tenant):
    """Contact ids in capitals and phones with a blank behind occur in files and answers alike."""
    contact = await tenant.member()
    await tenant.http.post("/_sim/faults", json={"upper_case_guids": True, "trailing_blanks": True})
    found = (await tenant.http.get("/api/v3/contacts/id?mobilePhone=%2B46701740605")).json()
    assert found == contact["id"].upper()
    shown = (await tenant.http.get(f"/api/v3/contacts/{found}")).json()
    assert (shown["id"], shown["attributes"]["mobilePhone"]) == (found, "+46701740605 ")
    (path,) = tenant.sim.export_now()
    text = path.read_text("utf-8")
    assert f"<contactId>{found}</contactId>" in text
    assert "<mobilePhone>+46701740605 </mobilePhone>" in text
    await tenant.http.post("/_sim/faults", json={"clear": True})
    assert (await tenant.http.get("/api/v3/contacts/id?mobilePhone=%2B46701740605")).json() == contact["id"]


async def test_a_full_export_of_many_members_is_fast(open_tenant):
    """Twenty thousand members are seeded and written within seconds, so that demos start at once."""
    tenant = await open_tenant()
    started = time.process_time()
    tenant.sim.seed(20_000)
    paths = tenant.sim.export_full()
    assert len(paths) == 2
    assert time.process_time() - started < 20
