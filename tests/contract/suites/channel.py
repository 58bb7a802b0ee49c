"""The Channel port: what every implementation makes of a guest's word."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from orchestrator.model import InstanceName, Says, Word
from orchestrator.ports import Channel

WEB, OTHER = InstanceName("web-0.shop"), InstanceName("web-1.shop")


class Guests(Protocol):
    """Two guests that can speak, and the port that hears them."""

    channel: Channel

    def say(self, name: InstanceName, says: Says, for_s: float, reason: str) -> None:
        """The guest says so, and waits for its answer. Returns when it has been heard."""

    def is_answered(self, name: InstanceName, *, soon: bool) -> bool:
        """Whether the guest that spoke last has its answer; `soon`: waits for it a while."""

    def part(self, name: InstanceName) -> None:
        """The guest asks to be told of its end. Returns when it has been heard."""

    def forget(self, name: InstanceName) -> None:
        """The guest's VM is gone for good."""


class ChannelContract:
    """Subclasses give the fixture `guests`."""

    def test_who_has_said_nothing_has_no_word(self, guests: Guests) -> None:
        """Nor has a VM that nobody knows."""
        assert guests.channel.word(WEB) is None
        assert guests.channel.word(InstanceName("web-9.shop")) is None

    def test_the_last_word_is_kept(self, guests: Guests) -> None:
        """Of each guest its own, with its reason and its end."""
        guests.say(WEB, Says.BUSY, 30.0, "a backup")
        word = said(guests, WEB)
        assert (word.says, word.reason) == (Says.BUSY, "a backup")
        assert abs(word.until_s - word.at_s - 30.0) < 0.01
        assert guests.channel.word(OTHER) is None
        guests.channel.taken(WEB, word)
        assert guests.is_answered(WEB, soon=True)
        guests.say(WEB, Says.READY, 0.0, "")
        assert (said(guests, WEB).says, said(guests, WEB).until_s) == (Says.READY, 0.0)

    def test_it_is_answered_when_that_is_done(self, guests: Guests) -> None:
        """Not before, and by no other word, nor by another's."""
        guests.say(WEB, Says.BUSY, 30.0, "")
        word = said(guests, WEB)
        guests.channel.taken(WEB, replace(word, reason="another"))
        guests.channel.taken(OTHER, word)
        assert not guests.is_answered(WEB, soon=False)
        guests.channel.taken(WEB, word)
        assert guests.is_answered(WEB, soon=True)
        guests.channel.taken(WEB, word)
        guests.channel.taken(InstanceName("web-9.shop"), word)

    def test_who_asks_to_be_told_of_its_end_is_known(self, guests: Guests) -> None:
        """Of each guest its own; it goes with the VM."""
        assert guests.channel.parting(WEB) is None
        assert guests.channel.parting(InstanceName("web-9.shop")) is None
        guests.part(WEB)
        parting = guests.channel.parting(WEB)
        assert parting is not None
        assert (parting.asked_at_s > 0, parting.let_go_at_s) == (True, 0.0)
        assert guests.channel.parting(OTHER) is None
        guests.forget(WEB)
        assert guests.channel.parting(WEB) is None

    def test_the_word_goes_with_the_vm(self, guests: Guests) -> None:
        """The next of that name has said nothing."""
        guests.say(WEB, Says.BUSY, 30.0, "")
        guests.forget(WEB)
        assert guests.channel.word(WEB) is None


def said(guests: Guests, name: InstanceName) -> Word:
    """What it has said."""
    word = guests.channel.word(name)
    assert word is not None
    return word
