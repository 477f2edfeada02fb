"""Fetches one file: continues a part, tries again where a connection breaks, and never takes a web page for a file.

A part lies beside its file as `NAME.part`, with `NAME.part.json` that says which version of the file it is of.
"""

from __future__ import annotations

import hashlib
import http.client
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from pydantic import ValidationError

from vr1bench.errors import IncompleteError, Vr1benchError
from vr1bench.types import FrozenModel
from vr1bench.unpack import CHUNK, HEAD, check_space, is_web_page, size_of, writing

if TYPE_CHECKING:
    import httpx

DOWNLOADS = "downloads"
"""Folder under the data folder in which files lie until they are unpacked."""
RETRIES = 5
"""Attempts in a row that may bring less than `GAIN`."""
GAIN = 2**20
"""Bytes that make an attempt worth while: a connection that drops every few megabytes still ends."""
LONGEST_WAIT_S = 60.0
TIMEOUT_S = 60.0
"""Silence that counts as a broken connection."""
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP statuses that may be gone in a moment (RFC 9110 and 6585)."""


@dataclass(frozen=True)
class Remote:
    """A file somewhere: an ordinary address, or a file of a hub repository ("datasets/" before a data set's name)."""

    url: str = ""
    repo: str = ""
    file: str = ""
    revision: str = "main"

    @property
    def address(self) -> str:
        """What `vr1bench.lock` calls it."""
        return self.url or f"hf://{self.repo}@{self.revision}/{self.file}"

    @property
    def name(self) -> str:
        """Its name in the downloads folder: one part, safe, and different for different addresses."""
        place = self.url.partition("://")[2] if self.url else f"{self.repo}/{self.file}"
        return re.sub(r"[^\w.+-]+", "_", place, flags=re.ASCII).lstrip(".")[-150:]


@dataclass(frozen=True)
class Console:
    """What a person sees on stderr: nothing where `shown` is False, and a bar only on a terminal."""

    shown: bool = False

    def say(self, text: str) -> None:
        """A line."""
        if self.shown:
            from tqdm import tqdm

            tqdm.write(text, file=sys.stderr)

    @contextmanager
    def bar(self, what: str, total: int, initial: int = 0) -> Generator[Callable[[int], object], None, None]:
        """A bar that counts bytes; `total` 0 where nobody knows it."""
        from tqdm import tqdm

        with tqdm(
            total=total or None, initial=initial, desc=what, unit="B", unit_scale=True, leave=False, file=sys.stderr,
            disable=None if self.shown else True,
        ) as drawn:  # fmt: skip
            yield drawn.update


class _Note(FrozenModel):
    """Which version of which file a part belongs to; `validator` is what If-Range takes."""

    address: str
    version: str = ""
    validator: str = ""
    total: int = 0


@dataclass(frozen=True)
class _Place:
    """Where to ask: `headers` hold the hub's token, `version` is its ETag; both are empty elsewhere."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    version: str = ""


class _BrokenError(Exception):
    """An attempt failed in a way that may pass; `wait_s` where the host said how long."""

    def __init__(self, message: str, wait_s: float = 0.0) -> None:
        super().__init__(message)
        self.wait_s = wait_s


def download(remote: Remote, to: Path, size: int = 0, *, console: Console, wait: Callable[[float], object]) -> str:
    """Fetches a file whole, continuing what an earlier call left.

    Args:
        remote: The file.
        to: Where it goes.
        size: Its published size in bytes; 0 where unknown.
        console: What a person sees.
        wait: Called with seconds between attempts.

    Returns:
        The sha256 that the hub says it has; "" where nobody says.

    Raises:
        IncompleteError: The connection kept breaking; the part stays.
        Vr1benchError: The host refuses, or has something else there.
        DiskError: It cannot be written.
    """
    part = to.with_name(f"{to.name}.part")
    failures = 0
    while True:
        before = _length(part)
        try:
            claimed = _attempt(remote, part, size, console)
        except _BrokenError as error:
            failures = 1 if _length(part) - before >= GAIN else failures + 1
            if failures >= RETRIES:
                raise IncompleteError(
                    f"{remote.address}: {error}; tried {failures} times; {size_of(_length(part))} are kept in {part}: "
                    f"type the same command again to continue, or put the whole file at {to} yourself"
                ) from error
            delay = error.wait_s or min(2.0 ** (failures - 1), LONGEST_WAIT_S)
            console.say(f"{remote.address}: {error}; again in {delay:.0f} s")
            wait(delay)
        else:
            with writing(to):
                part.replace(to)
                _note_path(part).unlink(missing_ok=True)
            return claimed


def digests(path: Path, console: Console) -> dict[str, str]:
    """sha256 and md5 of a file, in hex.

    Raises:
        Vr1benchError: It cannot be read.
    """
    sums = {"sha256": hashlib.sha256(), "md5": hashlib.md5(usedforsecurity=False)}
    try:
        with path.open("rb") as file, console.bar(f"checking {path.name}", path.stat().st_size) as update:
            while chunk := file.read(CHUNK):
                for one in sums.values():
                    one.update(chunk)
                update(len(chunk))
    except OSError as error:
        raise Vr1benchError(f"cannot read {path}: {error.strerror or error}; expected a downloaded file") from error
    return {name: one.hexdigest() for name, one in sums.items()}


def _attempt(remote: Remote, part: Path, size: int, console: Console) -> str:
    """Adds to a part until it is whole; returns the hub's checksum."""
    place = _resolve(remote)
    note = _note(part)
    if note is None or (note.address, note.version) != (remote.address, place.version):
        note = _Note(address=remote.address, version=place.version)
        _discard(part)
    have = _length(part)
    if not note.total or have != note.total:
        with _opened(remote, place, note, have, part) as response:
            _receive(response, remote, note, part, size, console)
    return place.version if re.fullmatch(r"[0-9a-f]{64}", place.version) else ""


def _resolve(remote: Remote) -> _Place:
    """Where the file is to be had just now: the hub's own addresses expire."""
    if remote.url:
        return _Place(remote.url)
    try:
        import httpx
        from huggingface_hub import get_hf_file_metadata, hf_hub_url
        from huggingface_hub.errors import OfflineModeIsEnabled
        from huggingface_hub.utils import build_hf_headers
    except ImportError:
        raise Vr1benchError(
            f"{remote.address} lies on the hub, and huggingface_hub is not installed; install it, {_by_hand(remote)}"
        ) from None
    name = remote.repo.removeprefix("datasets/")
    kind = "dataset" if name != remote.repo else "model"
    url = hf_hub_url(name, remote.file, repo_type=kind, revision=remote.revision)
    try:
        found = get_hf_file_metadata(url)
    except OfflineModeIsEnabled:
        raise Vr1benchError(f"{remote.address}: HF_HUB_OFFLINE is set; unset it, {_by_hand(remote)}") from None
    except (httpx.HTTPError, OSError) as error:
        response = cast("httpx.Response | None", getattr(error, "response", None))
        if response is None:
            raise _BrokenError(f"no connection to the hub ({error})") from error
        raise _refusal(remote, response.status_code, response.headers.get("Retry-After", "")) from error
    own = urlsplit(found.location).netloc == urlsplit(url).netloc  # elsewhere the token is nobody's business
    return _Place(found.location, build_hf_headers() if own else {}, found.etag or "")


def _opener() -> urllib.request.OpenerDirector:
    """Knows http and https, also behind a redirect; no files, no ftp."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(), urllib.request.HTTPHandler(), urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(), urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(), urllib.request.UnknownHandler(),
    ):  # fmt: skip
        opener.add_handler(handler)
    return opener


@contextmanager
def _opened(
    remote: Remote, place: _Place, note: _Note, have: int, part: Path
) -> Generator[http.client.HTTPResponse, None, None]:
    """The host's answer: the rest of the file where it still has the same one, else all of it."""
    wanted = {"User-Agent": "vr1bench", "Accept-Encoding": "identity"}
    if have:
        wanted |= {"Range": f"bytes={have}-"} | ({"If-Range": note.validator} if note.validator else {})
    request = urllib.request.Request(place.url, headers=wanted)  # noqa: S310  the opener knows http and https only
    for name, value in place.headers.items():
        request.add_unredirected_header(name, value)  # the token stays with the hub
    try:
        response = cast("http.client.HTTPResponse", _opener().open(request, timeout=TIMEOUT_S))
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:
            _discard(part)
            raise _BrokenError("the file became shorter on the host; from the start") from error
        raise _refusal(remote, error.code, error.headers.get("Retry-After", "")) from error
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenError(f"no connection ({getattr(error, 'reason', error)})") from error
    with response:
        yield response


def _receive(
    response: http.client.HTTPResponse, remote: Remote, note: _Note, part: Path, size: int, console: Console
) -> None:
    have = _length(part) if response.status == 206 else 0
    now = _answered(response, note, have)
    if now.total < 0 or (have and not _continues(now, note)):
        _discard(part)
        raise _BrokenError("the file changed on the host; from the start")
    chunks = _chunks(response)
    first = next(chunks, b"")
    if not have and not remote.name.endswith((".html", ".htm")):
        _refuse_page(remote, response, first)
    if size and now.total and now.total != size:
        raise Vr1benchError(
            f"{remote.address}: the host has {now.total} bytes there; expected {size}, as the benchmark's TOML says: "
            f"the file was replaced or cut; look for its new place, {_by_hand(remote)}"
        )
    with writing(part):
        if not have:
            _discard(part)
        kept = now.model_copy(update={"validator": now.validator or note.validator if have else now.validator})
        draft = part.with_name(f"{part.name}.json.tmp")
        draft.write_text(kept.model_dump_json(), "utf-8")
        draft.replace(_note_path(part))  # at once: a note that Ctrl-C tore would cost the whole part
        check_space(part.parent, (now.total or size) - have, remote.address)
        with part.open("ab") as file, console.bar(remote.name, now.total or size, have) as update:
            for chunk in chain([first], chunks):
                file.write(chunk)
                have += len(chunk)
                update(len(chunk))
                if have > (size or now.total or have):
                    raise Vr1benchError(f"{remote.address}: more than the expected {size or now.total} bytes came")
    if have < (now.total or size):
        raise _BrokenError(f"the connection closed after {have} of {now.total or size} bytes")


def _answered(response: http.client.HTTPResponse, note: _Note, have: int) -> _Note:
    """What the answer is of. A weak ETag cannot continue a part (RFC 9110, 13.1.5); a date can."""
    etag = response.headers.get("ETag", "")
    validator = etag if etag.startswith('"') else response.headers.get("Last-Modified", "")
    if response.status == 206:
        span = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
        total = int(span[2]) if span and int(span[1]) == have else -1
    else:
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdecimal() else 0
    return note.model_copy(update={"validator": validator, "total": total})


def _continues(now: _Note, then: _Note) -> bool:
    """Whether a range is of the version that the part is of; where it says no validator, the length must tell."""
    if now.validator not in {"", then.validator}:
        return False
    return now.total == then.total or (not then.total and bool(now.validator))


def _chunks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    while True:
        try:
            chunk = response.read1(CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise _BrokenError(f"the connection broke ({error or type(error).__name__})") from error
        if not chunk:
            return
        yield chunk


def _refuse_page(remote: Remote, response: http.client.HTTPResponse, first: bytes) -> None:
    if response.headers.get_content_type() == "text/html" or is_web_page(first[:HEAD]):
        raise Vr1benchError(
            f"{remote.address}: the host sent a web page, which begins with {first[:60]!r}; expected the file: the "
            f"address may have moved or need a login; open it in a browser, {_by_hand(remote)}"
        )


def _refusal(remote: Remote, status: int, retry_after: str) -> Exception:
    if status in _PASSING:
        delay = float(retry_after) if retry_after.isdecimal() else 0.0
        return _BrokenError(f"the host answered {status}", min(delay, LONGEST_WAIT_S))
    hint = "open the address in a browser to see why"
    if status in {401, 403}:
        hint = "accept the licence on its page and set HF_TOKEN" if remote.repo else "it needs a login"
    elif status in {404, 410}:
        hint = "it is not there any more: name its new place in the benchmark's TOML"
    return Vr1benchError(f"{remote.address}: the host answered {status}; expected the file; {hint}, {_by_hand(remote)}")


def _by_hand(remote: Remote) -> str:
    return f"or put the file at {DOWNLOADS}/{remote.name} in the data folder, and type the same command again"


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _note_path(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _note(part: Path) -> _Note | None:
    """What a part is of; None where nobody says."""
    try:
        return _Note.model_validate_json(_note_path(part).read_bytes())
    except (OSError, ValidationError):
        return None


def _discard(part: Path) -> None:
    with writing(part):
        part.unlink(missing_ok=True)
        _note_path(part).unlink(missing_ok=True)
