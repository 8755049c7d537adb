"""Addresses of databases in folders of any name: SQLAlchemy, MLflow and Prefect open the file that was meant."""

import pytest
import sqlalchemy

from sacpipe.project.sqlite_address import sqlite_address, sqlite_file

NAMES = [
    "plain",
    "a%20b",
    "a%2520b",
    "100%",
    "a#b",
    "a?b",
    "a?b=c&d",
    "a+b",
    "a b",
    "ümläut",
    "a:b@c",
    "a;b,c",
]


@pytest.mark.parametrize("driver", ["", "aiosqlite"])
@pytest.mark.parametrize("name", NAMES)
def test_an_address_names_its_file_for_us_and_for_sqlalchemy(tmp_path, name, driver):
    path = tmp_path / name / "x.db"
    address = sqlite_address(path, driver)
    assert sqlite_file(address) == path
    url = sqlalchemy.make_url(address)
    assert (url.database, dict(url.query)) == (str(path), {})


def test_a_server_has_no_file():
    assert sqlite_file("http://ledger:5000") is None
    assert sqlite_file("postgresql+psycopg2://host/db") is None
    assert str(sqlite_file("sqlite:///relative.db?timeout=1")) == "relative.db"
