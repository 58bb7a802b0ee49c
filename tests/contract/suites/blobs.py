"""What every BlobFiles keeps. Who runs it gives the fixtures `blobs` and `later`, which has time pass (seconds)."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.errors import Conflict, InvalidInput, NotFound, StaleRevision
from orchestrator.model.blob import IDLE_S, NONE, Blob, BlobCaps, BlobOwner, BlobPut, Of
from orchestrator.ports import BlobFiles

WEB, OTHER = BlobOwner(Of.INSTANCE, "web-0.shop"), BlobOwner(Of.INSTANCE, "web-1.shop")
ROLE = BlobOwner(Of.ROLE, "web.shop")
MIB = 1024 * 1024
CAPS = BlobCaps(blob_mib=1, store_mib=2, most=4, puts_each=2, puts_most=3)
_numbers = iter(range(1_000_000))


def wish(name: str, data: bytes, **changes: Any) -> BlobPut:
    """A put of these bytes, like no other."""
    made: dict[str, Any] = {
        "name": name,
        "put_id": f"put-{next(_numbers)}",
        "size_bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    return BlobPut(**(made | changes))


def put(blobs: BlobFiles, owner: BlobOwner, name: str, data: bytes, **changes: Any) -> Blob:
    """Puts them in one part."""
    done = blobs.part(owner, str(owner), wish(name, data, **changes), 0, data)
    assert isinstance(done, Blob)
    return done


def held(blobs: BlobFiles, owner: BlobOwner) -> dict[str, bytes]:
    """All that an owner has."""
    return {one.name: blobs.read(owner, one.name, 0, 2 * MIB)[1] for one in blobs.all(owner)}


class BlobFilesContract:
    """The suite of ports.BlobFiles."""

    def test_what_was_put_is_got(self, blobs: BlobFiles) -> None:
        """By its owner and name, of an instance or of a role; an empty one is one as well."""
        first = put(blobs, WEB, "state.json", b"one")
        put(blobs, OTHER, "state.json", b"another's")
        put(blobs, ROLE, "state.json", b"ours")
        put(blobs, WEB, "empty", b"")
        assert held(blobs, WEB) == {"empty": b"", "state.json": b"one"}
        assert (held(blobs, OTHER), held(blobs, ROLE)) == ({"state.json": b"another's"}, {"state.json": b"ours"})
        assert [(one.name, one.size_bytes) for one in blobs.all(WEB)] == [("empty", 0), ("state.json", 3)]
        assert blobs.read(WEB, "state.json", 1, 1, first.version) == (first, b"n")
        assert blobs.used_bytes() == 3 + 9 + 4
        assert [(one.owner, one.blobs, one.used_bytes) for one in blobs.inventory()] == [
            (ROLE, 1, 4),
            (WEB, 2, 3),
            (OTHER, 1, 9),
        ]

    def test_parts_make_one_blob_with_the_last(self, blobs: BlobFiles) -> None:
        """Nothing of it is there before; a part that comes twice counts once, the last one as well."""
        put(blobs, WEB, "state", b"former")
        wanted = wish("state", b"abcdef")
        assert blobs.part(WEB, "me", wanted, 0, b"ab") == 2
        assert blobs.part(WEB, "me", wanted, 0, b"ab") == 2
        assert blobs.part(WEB, "me", wanted, 2, b"cd") == 4
        assert blobs.part(WEB, "me", wanted, 1, b"bcd") == 4
        assert held(blobs, WEB) == {"state": b"former"}
        done = blobs.part(WEB, "me", wanted, 4, b"ef")
        assert held(blobs, WEB) == {"state": b"abcdef"}
        assert blobs.part(WEB, "me", wanted, 4, b"ef") == done == blobs.all(WEB)[0]

    def test_parts_out_of_order_are_refused(self, blobs: BlobFiles) -> None:
        """And so is what begins in the midst, or goes beyond its end; the put goes on where it was."""
        wanted = wish("state", b"abcdef")
        with pytest.raises(NotFound):
            blobs.part(WEB, "me", wanted, 2, b"cd")
        assert blobs.part(WEB, "me", wanted, 0, b"ab") == 2
        for offset, data in ((3, b"d"), (2, b"cdefg")):
            with pytest.raises(InvalidInput):
                blobs.part(WEB, "me", wanted, offset, data)
        blobs.part(WEB, "me", wanted, 2, b"cdef")
        assert held(blobs, WEB) == {"state": b"abcdef"}

    def test_bytes_of_another_digest_are_no_blob(self, blobs: BlobFiles) -> None:
        """The former one stays, and the put is over."""
        put(blobs, WEB, "state", b"former")
        wanted = wish("state", b"abcdef")
        blobs.part(WEB, "me", wanted, 0, b"ab")
        with pytest.raises(InvalidInput, match="digest"):
            blobs.part(WEB, "me", wanted, 2, b"CDEF")
        assert held(blobs, WEB) == {"state": b"former"}
        with pytest.raises(NotFound):
            blobs.part(WEB, "me", wanted, 2, b"cdef")

    def test_a_giver_has_one_put_at_a_time(self, blobs: BlobFiles) -> None:
        """Another one takes its place; what is given up is gone."""
        first, second = wish("a", b"aa"), wish("b", b"bb")
        blobs.part(WEB, "me", first, 0, b"a")
        blobs.part(WEB, "me", second, 0, b"b")
        with pytest.raises(NotFound):
            blobs.part(WEB, "me", first, 1, b"a")
        blobs.give_up("me")
        blobs.give_up("me")
        with pytest.raises(NotFound):
            blobs.part(WEB, "me", second, 1, b"b")
        assert held(blobs, WEB) == {}

    def test_who_sends_nothing_new_does_not_go_on_with_it(
        self, blobs: BlobFiles, later: Callable[[float], None]
    ) -> None:
        """Else a few who never end could keep all others out: what was sent before, nothing, or what is refused."""
        wanted = wish("a", b"abc")
        blobs.part(WEB, "me", wanted, 0, b"a")
        for offset, data in ((0, b"a"), (1, b""), (2, b"c"), (1, b"bcd")):
            later(IDLE_S * 0.4)
            with contextlib.suppress(InvalidInput, NotFound):
                blobs.part(WEB, "me", wanted, offset, data)
        assert blobs.give_up_idle() == 0
        blobs.part(WEB, "me", wanted, 0, b"a")
        for at, data in enumerate((b"b", b"c"), 1):
            later(IDLE_S * 0.9)
            blobs.part(WEB, "me", wanted, at, data)
        assert held(blobs, WEB) == {"a": b"abc"}

    def test_a_version_is_compared_and_swapped(self, blobs: BlobFiles) -> None:
        """Of two who have read the same one, one gets his way; none comes back, not even after a removal."""
        first = put(blobs, WEB, "leader", b"a", if_version=NONE)
        for stale in (NONE, "0" * 16):
            with pytest.raises(StaleRevision, match=first.version):
                put(blobs, WEB, "leader", b"b", if_version=stale)
        second = put(blobs, WEB, "leader", b"a", if_version=first.version)
        assert second.version != first.version
        for ask in (
            lambda: put(blobs, WEB, "leader", b"b", if_version=first.version),
            lambda: blobs.remove(WEB, "leader", first.version),
            lambda: blobs.read(WEB, "leader", 0, 1, first.version),
        ):
            with pytest.raises(StaleRevision):
                ask()
        assert blobs.remove(WEB, "leader", second.version) == second
        with pytest.raises(StaleRevision, match="not there"):
            put(blobs, WEB, "leader", b"b", if_version=second.version)
        assert put(blobs, WEB, "leader", b"a").version not in (first.version, second.version)

    def test_whoever_is_first_to_end_a_put_has_swapped(self, blobs: BlobFiles) -> None:
        """It is compared as it takes the name, not only as it begins."""
        first = put(blobs, ROLE, "count", b"5")
        mine, yours = (wish("count", data, if_version=first.version) for data in (b"6m", b"6y"))
        assert (blobs.part(ROLE, "me", mine, 0, b"6"), blobs.part(ROLE, "you", yours, 0, b"6")) == (1, 1)
        blobs.part(ROLE, "you", yours, 1, b"y")
        with pytest.raises(StaleRevision):
            blobs.part(ROLE, "me", mine, 1, b"m")
        assert held(blobs, ROLE) == {"count": b"6y"}

    def test_a_store_has_its_caps(self, blobs: BlobFiles) -> None:
        """A blob, all together with what is begun, and their number; a smaller one takes a larger one's place."""
        big = bytes(MIB)
        with pytest.raises(InvalidInput, match="may have 1 MiB"):
            put(blobs, WEB, "large", bytes(MIB + 1))
        put(blobs, WEB, "a", big)
        begun = wish("b", big)
        blobs.part(WEB, "other", begun, 0, big[:1000])
        with pytest.raises(Conflict, match="may hold 2 MiB"):
            put(blobs, WEB, "c", b"x")
        put(blobs, WEB, "a", big[1:])
        put(blobs, WEB, "c", b"x")
        put(blobs, OTHER, "a", big)
        blobs.give_up("other")
        put(blobs, WEB, "b", b"")
        put(blobs, WEB, "d", b"")
        with pytest.raises(Conflict, match="has 4 blobs"):
            put(blobs, WEB, "e", b"")
        put(blobs, WEB, "d", b"again")
        blobs.remove(WEB, "d")
        put(blobs, WEB, "e", b"")

    def test_who_has_several_puts_begins_so_many_at_a_time(self, blobs: BlobFiles) -> None:
        """Of one, and of all such together; one that ends, by its last part or otherwise, makes place for another.
        Whoever has one put at a time is not counted with them.
        """

        def begin(among: str, giver: str) -> BlobPut:
            wanted = wish("state", b"ab")
            assert blobs.part(WEB, giver, wanted, 0, b"a", among=among) == 1
            return wanted

        first = begin("me", "me 1")
        begin("me", "me 2")
        for _ in range(20):
            with pytest.raises(Conflict, match="2 puts of me, and 2 in all, are begun"):
                begin("me", "me 3")
        begin("another", "another 1")
        with pytest.raises(Conflict, match="0 puts of a third, and 3 in all"):
            begin("a third", "a third 1")
        begin("", "a guest")
        assert isinstance(blobs.part(WEB, "me 1", first, 1, b"b", among="me"), Blob)
        begin("me", "me 3")
        begin("me", "me 3")  # Instead of what it had begun.
        blobs.give_up("another 1")
        begin("a third", "a third 1")

    def test_what_is_not_there_is_not_found(self, blobs: BlobFiles) -> None:
        """Not another's, nor what was removed."""
        put(blobs, OTHER, "state", b"x")
        blobs.remove(OTHER, "state")
        for owner in (WEB, OTHER):
            with pytest.raises(NotFound):
                blobs.read(owner, "state", 0, 1)
            with pytest.raises(NotFound):
                blobs.remove(owner, "state")
            assert list(blobs.all(owner)) == []

    def test_a_store_is_erased_with_all_that_is_in_it(self, blobs: BlobFiles) -> None:
        """No other is, and a role's is found by its deployment."""
        for owner in (WEB, OTHER, ROLE, BlobOwner(Of.ROLE, "db.shop"), BlobOwner(Of.ROLE, "web.shop--b")):
            put(blobs, owner, "state", b"x")
        assert list(blobs.roles_of("shop")) == ["db", "web"]
        for _ in range(2):
            blobs.erase_blobs(ROLE)
            blobs.erase_blobs(WEB)
        assert (list(blobs.roles_of("shop")), list(blobs.roles_of("shop--b"))) == (["db"], ["web"])
        assert (held(blobs, WEB), held(blobs, OTHER)) == ({}, {"state": b"x"})
        assert list(blobs.roles_of("bank")) == []

    @pytest.mark.parametrize(
        "name", ["..", "../state", "a/b", "", ".", ".put-1", "a..b", "a\0b", "a\nb", "x" * 101, "ä", "-rf", "a b"]
    )
    def test_what_can_be_no_name_is_refused(self, blobs: BlobFiles, name: str) -> None:
        """Whatever is asked; the words of the error are printable."""
        for ask in (
            lambda: put(blobs, WEB, name, b"x"),
            lambda: blobs.read(WEB, name, 0, 1),
            lambda: blobs.remove(WEB, name),
        ):
            with pytest.raises(InvalidInput) as refused:
                ask()
            assert str(refused.value).isprintable()
        assert list(blobs.inventory()) == []

    @pytest.mark.parametrize(
        "changes",
        [
            {"sha256": "x"},
            {"sha256": "A" * 64},
            {"put_id": ""},
            {"put_id": "../x"},
            {"if_version": "7"},
            {"size_bytes": -1},
        ],
        ids=str,
    )
    def test_what_can_be_no_put_is_refused(self, blobs: BlobFiles, changes: dict[str, Any]) -> None:
        """Before anything is made."""
        with pytest.raises(InvalidInput):
            blobs.part(WEB, "me", wish("state", b"x", **changes), 0, b"x")
        assert list(blobs.inventory()) == []
