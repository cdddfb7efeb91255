"""What is no address of Postgres."""

from __future__ import annotations

import pytest

from services.runtime.postgres import ConninfoError, check_conninfo, connect


@pytest.mark.parametrize("conninfo", ["nonsense", "host=a password=hunter2 oops"])
async def test_an_address_that_is_none_is_told_with_its_setting(conninfo: str) -> None:
    with pytest.raises(ConninfoError, match="UPSHOT_POSTGRES") as caught:
        await connect(conninfo)

    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("conninfo", ["", "host=127.0.0.1 dbname=a", "postgresql://u@h:5432/d"])
def test_an_address_is_taken_in_each_form_of_libpq(conninfo: str) -> None:
    check_conninfo(conninfo)
