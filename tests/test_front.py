"""Several loops under one address, over real folders and a real server."""

from __future__ import annotations

import html
import re
from pathlib import Path

import httpx
import pytest
from loops import open_loop, oracle, run_to_end, settings, write_points

from active_loop.config import write_settings
from active_loop.session import dashboards


def a_loop(directory: Path, name: str, *, run: bool = True) -> Path:
    folder = directory / name
    folder.mkdir()
    labels = write_points(folder)
    told = settings(name=f"the {name}")
    write_settings(told, folder / "loop.toml")
    if run:
        loop = open_loop(folder, oracle(labels), told)
        run_to_end(loop)
        loop.store.close()
    return folder


def words(response: httpx.Response) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", response.text)).split())


def test_every_loop_of_a_directory_is_listed_with_where_it_stands_and_what_is_wrong(tmp_path: Path) -> None:
    a_loop(tmp_path, "a red one")
    a_loop(tmp_path, "fresh", run=False)
    broken = a_loop(tmp_path, "broken", run=False)
    (broken / "loop.toml").write_text("[targt]\n")
    (tmp_path / "no loop").mkdir()
    with dashboards(tmp_path, "127.0.0.1", 0) as server:
        said = words(httpx.get(server.url))
        assert "3 loops lie in" in said
        assert "the a red one" in said
        assert "Target reached" in said
        assert "no loop was started in" in said
        assert 'unknown section "targt"' in said or "targt" in said
        a_loop(tmp_path, "later", run=False)
        assert "4 loops lie in" in words(httpx.get(server.url))


def test_each_loop_has_its_whole_dashboard_below(tmp_path: Path) -> None:
    a_loop(tmp_path, "빨강")
    a_loop(tmp_path, "blue")
    with dashboards(tmp_path, "127.0.0.1", 0) as server, httpx.Client(base_url=server.url) as client:
        assert client.get("/blue").headers["location"].endswith("/blue/")
        page = client.get("/빨강/")
        assert page.status_code == 200
        assert "the 빨강" in page.text
        style = re.search(r'href="([^"]*style\.css)"', page.text)
        assert style
        assert client.get(style[1]).status_code == 200
        assert client.get("/blue/status.json").json()["name"] == "the blue"
        assert client.get("/blue/nowhere").status_code == 404
        assert client.get("/nowhere/").status_code == 404


def test_a_directory_without_a_loop_says_how_to_make_one(tmp_path: Path) -> None:
    with dashboards(tmp_path, "127.0.0.1", 0) as server:
        assert "active-loop init" in words(httpx.get(server.url))


def test_the_list_asks_for_the_token_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_loop(tmp_path, "blue")
    monkeypatch.setenv("ACTIVE_LOOP_VIEWER_TOKEN", "for-viewers")
    with dashboards(tmp_path, "127.0.0.1", 0) as server:
        assert httpx.get(server.url).status_code == 401
        assert httpx.get(f"{server.url}/blue/").status_code == 401
        given = {"Authorization": "Bearer for-viewers"}
        assert httpx.get(server.url, headers=given).status_code == 200
        assert httpx.get(f"{server.url}/blue/", headers=given).status_code == 200
