"""Asking for single members, so that one of whom Antavo cannot tell holds up nobody else."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from agent.connectors.antavo.calls import MembersApi
from agent.domain.contact import ContactChange
from agent.domain.identifiers import Identifier
from agent.errors import VendorOwnError, VendorUnreachableError

ERRORS_IN_A_ROW = 3
"""After so many errors of the vendor's own it is asked whether it is there at all."""


class Questions:
    """The questions of one poll.

    Args:
        api: the calls.
        read: the change that a customer makes.
    """

    def __init__(self, api: MembersApi, read: Callable[[Mapping[str, Any]], ContactChange | None]) -> None:
        self._api, self._read = api, read
        self._in_a_row = 0

    async def told(self, customer: str) -> ContactChange | None:
        """What a customer is now, None when there is none.

        Raises:
            VendorOwnError: Antavo cannot tell of this one.
            VendorError: nobody answers, we are refused, or are to ask again later.
        """
        async with self._one_s_own():
            told = await self._api.customer(customer)
        return None if told is None else self._read(told)

    async def named(self, one: Identifier) -> Sequence[str]:
        """Who has a number or an external id. Raises VendorError, as :meth:`told`."""
        async with self._one_s_own():
            return await self._api.named(one)

    @contextlib.asynccontextmanager
    async def _one_s_own(self) -> AsyncIterator[None]:
        """Takes an error for one member's, unless it comes so often that the vendor itself may be in trouble."""
        try:
            yield
        except VendorOwnError as error:
            if error.retry_after_s is not None:
                raise _vendors(error) from error
            self._in_a_row += 1
            if self._in_a_row == ERRORS_IN_A_ROW:
                await self._check_that_it_is_there()
                self._in_a_row = 0
            raise
        self._in_a_row = 0

    async def _check_that_it_is_there(self) -> None:
        try:
            await self._api.ping()
        except VendorOwnError as error:
            raise _vendors(error) from error


def _vendors(error: VendorOwnError) -> VendorUnreachableError:
    """The error, as one that is not about what was asked for."""
    return VendorUnreachableError(str(error), retry_after_s=error.retry_after_s)
