"""Any sequence of changes, cut into pages and files anywhere, gives the replica that a plain dict would give."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from told import ToldReplica

from agent.domain.contact import ChangeKind, ContactChange
from agent.domain.identifiers import Identifier, IdentifierType
from agent.ports import AppliedFile, ChangePage
from agent.store.database import DatabaseFile
from agent.store.keyhash import KeyHash
from agent.store.replica_builder import SqliteReplicaStore
from agent.store.replica_file import ReplicaFile

ID, MEMBER, PHONE = IdentifierType.CONTACT_ID, IdentifierType.MEMBER_NUMBER, IdentifierType.MOBILE_PHONE
NOW = datetime(2026, 2, 20, 10, 15, tzinfo=UTC)
KEY = bytes(range(32))
VALUES = {ID: ["id-1", "id-2", "id-3"], MEMBER: ["1001", "1002", "1003"], PHONE: ["+46701740605", "+46701740606"]}

_identifiers = st.fixed_dictionaries(
    {}, optional={kind: st.sampled_from([*values, None]) for kind, values in VALUES.items()}
)
_fields = st.dictionaries(st.sampled_from(["first_name", "member_level"]), st.sampled_from(["a", "b", None]))
_changes = st.builds(
    ContactChange,
    st.sampled_from([ChangeKind.UPSERT, ChangeKind.UPSERT, ChangeKind.UPSERT, ChangeKind.DELETE]),
    _identifiers,
    _fields,
    st.booleans(),
)


class Model:
    """The rules in plain words: a list of contacts, each a dict of keys and a dict of fields."""

    def __init__(self):
        self.contacts = []
        self.tombstones = {}

    def apply(self, change):
        given = {kind: value for kind, value in change.identifiers.items() if value is not None}
        if change.kind is ChangeKind.DELETE:
            self.delete(given)
        elif ID in given or MEMBER in given:
            self.upsert(change, given)

    def upsert(self, change, given):
        contact = self.known(given)
        if contact is None:
            contact = ({}, {})
            self.contacts.append(contact)
        keys, fields = contact
        for kind in VALUES:
            cleared = kind in change.identifiers and change.identifiers[kind] is None
            if kind in given:
                keys[kind] = given[kind]
            elif kind is not ID and (cleared or change.full_row):
                keys.pop(kind, None)
        if change.full_row:
            fields.clear()
        fields.update(change.fields)
        for kind in (ID, MEMBER):
            self.tombstones.pop((kind, given.get(kind)), None)

    def known(self, given):
        if ID in given:
            same = [contact for contact in self.contacts if contact[0].get(ID) == given[ID]]
            same += [
                contact
                for contact in self.contacts
                if ID not in contact[0] and MEMBER in given and contact[0][MEMBER] == given[MEMBER]
            ]
            return same[0] if same else None
        same = [contact for contact in self.contacts if contact[0].get(MEMBER) == given[MEMBER]]
        return same[-1] if same else None

    def delete(self, given):
        gone = []
        if ID in given:
            gone = [contact for contact in self.contacts if contact[0].get(ID) == given[ID]] or [
                contact
                for contact in self.contacts
                if ID not in contact[0] and MEMBER in given and contact[0].get(MEMBER) == given[MEMBER]
            ]
        else:
            for kind in (MEMBER, PHONE):
                if kind in given and not gone:
                    gone = [contact for contact in self.contacts if contact[0].get(kind) == given[kind]]
        self.contacts = [contact for contact in self.contacts if not any(contact is other for other in gone)]
        for keys in [contact[0] for contact in gone] or [given]:
            if keys:
                kind = next(kind for kind in VALUES if kind in keys)
                self.tombstones[(kind, keys[kind])] = {*keys.items(), *given.items()}

    def named_by(self, kind, value):
        return sorted(
            repr((keys.get(MEMBER) or keys[ID], sorted(fields.items())))
            for keys, fields in self.contacts
            if keys.get(kind) == value
        )


def _check(file, replica, model):
    for kind, values in VALUES.items():
        for value in values:
            found = replica.resolve([Identifier(kind, value)])
            rows = sorted(repr((member.key.value, sorted(member.fields.items()))) for member in found)
            assert rows == model.named_by(kind, value), (kind, value)
            for member in found:
                assert replica.member(member.ref) is not None
    assert replica.info().contacts == len(model.contacts)
    keys = KeyHash(KEY)
    expected = {keys.of(*pair) for pairs in model.tombstones.values() for pair in pairs}
    with SqliteReplicaStore(file).open_writer() as writer:
        buried = {keys[start : start + 16] for _, keys, _ in writer.removed() for start in range(0, len(keys), 16)}
    assert buried == expected


def _pieces(changes, cuts):
    edges = [0, *sorted(cut % (len(changes) + 1) for cut in cuts), len(changes)]
    return [changes[start:end] for start, end in pairwise(edges)]


def _load(store, files, start, *, finish):
    with store.open_loader(rebuild=False) as loader:
        for number, changes in enumerate(files, start):
            loader.apply_file(AppliedFile(f"{number}", 1, f"{number}"), store.digest(changes), at=NOW)
        if finish:
            loader.finish(as_of=NOW)


@settings(max_examples=60)
@given(
    changes=st.lists(_changes, max_size=14),
    cuts=st.lists(st.integers(0, 99), max_size=4),
    built=st.integers(0, 5),
    killed_after=st.integers(0, 5),
)
def test_any_changes_any_cuts(changes, cuts, built, killed_after):
    """Files built, interrupted and gone on with, deltas and pages all end in the same replica."""
    model = Model()
    for change in changes:
        model.apply(change)
    with tempfile.TemporaryDirectory() as folder:
        database = DatabaseFile(Path(folder) / "replica.db", None, "NORMAL")
        file = ReplicaFile(database, KEY, MEMBER, "contacts", ("first_name", "member_level"))
        store = SqliteReplicaStore(file)
        replica = ToldReplica(file)
        try:
            pieces = _pieces(changes, cuts)
            _load(store, pieces[:built][:killed_after], 0, finish=False)
            _load(store, pieces[:built][killed_after:], 100, finish=True)
            replica.adopt()
            with store.open_writer() as writer:
                for number, piece in enumerate(pieces[built:]):
                    writer.apply_page(ChangePage(tuple(piece), f"{number}", last=False), at=NOW)
                writer.finish(as_of=NOW)
            _check(file, replica, model)
        finally:
            replica.close()


@pytest.mark.slow
@settings(max_examples=3000)
@given(
    changes=st.lists(_changes, max_size=25),
    cuts=st.lists(st.integers(0, 99), max_size=6),
    built=st.integers(0, 7),
    killed_after=st.integers(0, 7),
)
def test_very_many_changes_any_cuts(changes, cuts, built, killed_after):
    """The same, for long."""
    test_any_changes_any_cuts.hypothesis.inner_test(changes, cuts, built, killed_after)
