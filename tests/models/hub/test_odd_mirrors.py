"""Hubs and mirrors that say too little, send what nobody asked for, or mean harm."""

from __future__ import annotations

import gzip

import pytest
from hub_server import Hub

from qwen_cli.errors import DownloadError
from qwen_cli.models.hub import resolve, sources, store

SMALL = "Qwen/Qwen3-0.6B-GGUF"
FILE = "Qwen3-0.6B-Q8_0.gguf"


def whole(hub: Hub) -> bytes:
    return (hub.root / SMALL / FILE).read_bytes()


@pytest.mark.parametrize("heads", [True, False])
def test_a_mirror_that_gives_no_sizes(hub: Hub, heads: bool) -> None:
    hub.sizes, hub.heads = False, heads
    assert resolve.resolve("qwen3:0.6b").path.read_bytes() == whole(hub)


@pytest.mark.parametrize("heads", [True, False])
def test_a_mirror_without_sizes_that_breaks_off_is_never_taken_for_whole(hub: Hub, heads: bool) -> None:
    hub.sizes, hub.heads, hub.cut_after = False, heads, 50_000
    assert resolve.resolve("qwen3:0.6b").path.read_bytes() == whole(hub)


def test_a_part_that_does_not_say_where_it_belongs_is_the_one_asked_for(hub: Hub) -> None:
    hub.cut_after, hub.range_unsaid = 50_000, True
    assert resolve.resolve("qwen3:0.6b").path.read_bytes() == whole(hub)
    assert len(hub.downloads()) == 2


def test_a_mirror_that_never_sends_the_rest_is_given_up(hub: Hub) -> None:
    """It begins afresh each time and breaks off at the same byte."""
    hub.cut_after, hub.cut_always, hub.ignore_range = 50_000, True, True
    with pytest.raises(DownloadError, match="cannot be reached"):
        resolve.resolve("qwen3:0.6b")
    assert len(hub.downloads()) < 10


@pytest.mark.parametrize(
    ("kind", "change", "says"),
    [
        ("application/octet-stream", lambda body: body[:-7], "bytes, the list says"),
        ("application/octet-stream", lambda body: body + b"more", "bytes, the list says"),
        ("application/octet-stream", lambda body: b"", "0 bytes, the list says"),
        ("text/html; charset=utf-8", lambda body: b"<html>log in</html>", "19 bytes, a web page"),
    ],
)
def test_what_is_longer_or_shorter_than_said_is_told_at_once(hub: Hub, kind: str, change, says: str) -> None:
    hub.body = (kind, change(whole(hub)))
    with pytest.raises(DownloadError, match=says):
        resolve.resolve("qwen3:0.6b")
    assert len(hub.downloads()) == 1
    assert resolve.local() == []
    hub.body = None
    assert resolve.resolve("qwen3:0.6b").path.read_bytes() == whole(hub)


def test_a_small_file_that_is_sent_packed_is_unpacked(hub: Hub) -> None:
    hub.packing = {".json": "gzip"}
    folder = resolve.resolve("qwen3:0.6b", prefer="safetensors").path
    source = hub.root / "Qwen/Qwen3-0.6B/config.json"
    assert (folder / "config.json").read_bytes() == source.read_bytes()


@pytest.mark.parametrize("packing", ["gzip, gzip", "br", "deflate", "zstd"])
def test_what_is_packed_otherwise_is_refused_unread(hub: Hub, packing: str) -> None:
    hub.packing = {".json": packing}
    with pytest.raises(DownloadError, match=f"cannot be read: it is packed as {packing}"):
        resolve.resolve("qwen3:0.6b", prefer="safetensors")


def test_a_packed_file_is_unpacked_no_further_than_its_size(hub: Hub) -> None:
    hub.body, hub.packing = ("application/octet-stream", b"\0" * 50_000_000), {".gguf": "gzip"}
    with pytest.raises(DownloadError, match=r"cannot be read: it is longer than [\d,]+ bytes"):
        resolve.resolve("qwen3:0.6b")


@pytest.mark.parametrize(
    "entry",
    [
        {"sha256": "../../../../escaped"},
        {"sha256": "g" * 64},
        {"sha256": "ab"},
        {"sha256": 7},
        {"size": -1},
        {"size": "much"},
        {"size": 1.5},
    ],
)
def test_a_listing_with_what_is_no_hash_or_size_is_refused(hub: Hub, entry: dict[str, object]) -> None:
    hub.entry = entry
    with pytest.raises(DownloadError, match="something else than a file list"):
        resolve.resolve("qwen3:0.6b")
    assert not list(store.cache_folder().rglob("*escaped*"))


@pytest.mark.parametrize("commit", ["../../escaped", "", "a/b", ".."])
def test_a_commit_that_is_a_path_is_refused(hub: Hub, commit: str) -> None:
    hub.commit = commit
    with pytest.raises(DownloadError, match="something else than a file list"):
        resolve.resolve("qwen3:0.6b")


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://x/"])
def test_a_redirect_off_the_web_is_refused_at_once(hub: Hub, target: str) -> None:
    hub.leads_to = target
    with pytest.raises(DownloadError, match="no address on the web"):
        resolve.resolve("qwen3:0.6b")
    assert len(hub.downloads()) == 1


@pytest.mark.parametrize(
    ("base", "target", "refused"),
    [
        ("https://huggingface.co", "http://169.254.169.254/latest", True),
        ("https://huggingface.co", "http://127.0.0.1:8080/x", True),
        ("https://huggingface.co", "http://[::1]/x", True),
        ("https://huggingface.co", "https://localhost/x", True),
        ("https://huggingface.co", "http://metadata.google.internal/x", True),
        ("https://huggingface.co", "http://10.0.0.5/x", True),
        ("https://huggingface.co", "https://cas-bridge.xethub.hf.co/x", False),
        ("http://10.0.0.5:8000", "http://10.0.0.6/x", False),
        ("http://mirror.local", "http://192.168.1.9/x", False),
    ],
)
def test_a_hub_outside_does_not_lead_into_this_network(base: str, target: str, refused: bool) -> None:
    if not refused:
        sources._check_redirect(base, target)
        return
    with pytest.raises(DownloadError, match="own network"):
        sources._check_redirect(base, target)


def test_a_hub_that_is_busy_for_a_moment_is_waited_for(hub: Hub) -> None:
    hub.busy = 2
    assert resolve.resolve("qwen3:0.6b").path.read_bytes() == whole(hub)


@pytest.mark.parametrize(
    ("after", "says"),
    [("3600", "wait 3,600 seconds"), ("soon", "wait a few minutes"), ("-1", "a few minutes")],
)
def test_a_hub_that_is_busy_for_long_is_not_waited_for(hub: Hub, after: str, says: str) -> None:
    hub.status, hub.retry_after = 429, after
    with pytest.raises(DownloadError, match="limits the rate of requests") as caught:
        sources.listing(SMALL, "hub")
    assert says in str(caught.value).lower()


def test_a_listing_that_is_packed_twice_is_not_unpacked(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    import httpx

    bomb = gzip.compress(gzip.compress(b"\0" * 10_000_000))
    response = httpx.Response(200, headers={"Content-Encoding": "gzip, gzip"}, stream=httpx.ByteStream(bomb))
    with pytest.raises(ValueError, match="packed as gzip, gzip"):
        sources.body(response, 1_000_000)
    once = httpx.Response(
        200, headers={"Content-Encoding": "gzip"}, stream=httpx.ByteStream(gzip.compress(b"\0" * 10_000_000))
    )
    with pytest.raises(ValueError, match="longer than 1,000,000 bytes"):
        sources.body(once, 1_000_000)
