# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""A small Hub on loopback: the HTTP API that `huggingface_hub` uses for model repositories, in memory.

It speaks whoami, create, info, refs, branches, tree, paths-info, validate-yaml, preupload, LFS (batch, PUT, verify),
commit (atomic, with the parent checked) and resolve. Every commit is a snapshot that a test can look at. Faults can be
laid in: a connection cut in the middle of a request, a lost or a wrong answer, or any status.

    with FakeHub() as hub:
        hub.fail("commit")
        HfApi(endpoint=hub.url, token=hub.token).create_commit(...)
"""

import base64
import fnmatch
import hashlib
import json
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

LFS_FROM_BYTES = 5_000_000
REPO = r"(?P<repo>[^/]+/[^/]+)"
READS = {"whoami", "info", "refs", "tree", "paths_info", "validate_yaml", "preupload", "commits", "resolve"}
"""Requests that leave the Hub as it is (preupload only asks how a file would have to be sent)."""


class HubError(Exception):
    """An answer with an error status."""

    def __init__(self, status: int, message: str, code: str = "", **content: str) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.content = status, message, code, content


@dataclass
class Commit:
    """One snapshot of a repository."""

    oid: str
    parent: str | None
    title: str
    files: dict[str, bytes]


@dataclass
class Repo:
    """Commits by hash, branches by name."""

    private: bool
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def add(self, branch: str, title: str, files: dict[str, bytes]) -> Commit:
        """Put a snapshot on a branch."""
        parent = self.branches.get(branch)
        digest = hashlib.sha1(repr((parent, len(self.commits), title, sorted(files))).encode())
        commit = Commit(digest.hexdigest(), parent, title, files)
        self.commits[commit.oid] = commit
        self.branches[branch] = commit.oid
        return commit

    def at(self, revision: str) -> Commit:
        """The snapshot of a branch or of a full hash."""
        oid = self.branches.get(revision, revision)
        if oid not in self.commits:
            raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return self.commits[oid]


@dataclass
class Fault:
    """What happens to the next requests of a kind."""

    kind: str
    status: int | None
    lost: bool
    times: int
    code: str = ""
    answer: bytes | None = None
    message: str = ""


def git_oid(content: bytes) -> str:
    """The hash of a file that git itself stores."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def is_lfs(path: str, size: int) -> bool:
    """As the Hub's default .gitattributes and its limit for regular files."""
    return size > 0 and (path.endswith((".safetensors", ".bin", ".pt")) or size > LFS_FROM_BYTES)


class FakeHub:
    """The server and its state. `token` may write to `org`, `reader` may write nowhere, others are refused."""

    token = "hf_writer"
    reader = "hf_reader"

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.lfs: dict[str, bytes] = {}
        self.log: list[str] = []
        self.faults: list[Fault] = []
        self.before: dict[str, Callable[[], None]] = {}
        self.lock = threading.RLock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"hub": self}))
        self.server.daemon_threads = True
        self.server.block_on_close = False
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> "FakeHub":
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def fail(
        self,
        kind: str,
        *,
        status: int | None = None,
        code: str = "",
        lost: bool = False,
        answer: bytes | None = None,
        message: str = "laid in by the test",
        times: int = 1,
    ) -> None:
        """Spoil the next requests of a kind.

        Args:
            kind: see `ROUTES`.
            status, code: answer with this status, and the Hub's own word for it. Default: read half of the request
                and cut the connection.
            lost: do what was asked, then cut the connection before the answer.
            answer: instead of the Hub's, with status 200, as a proxy would. With `lost`, what was asked is done.
            message: what the Hub says beside `status`.
            times: how many requests; -1 for all that follow.
        """
        self.faults.append(Fault(kind, status, lost, times, code, answer, message))

    def heal(self) -> None:
        """No faults any more."""
        self.faults.clear()

    def take_fault(self, kind: str) -> Fault | None:
        """The fault laid in for this request, counted down."""
        with self.lock:
            for fault in self.faults:
                if fault.kind == kind and fault.times != 0:
                    fault.times -= 1
                    return fault
        return None

    def writes(self) -> list[str]:
        """The requests so far that change something."""
        return [kind for kind in self.log if kind not in READS]

    def history(self, repo: str, revision: str = "main") -> list[Commit]:
        """The commits of a branch, newest first."""
        commits, oid = self.repos[repo].commits, self.repos[repo].at(revision).oid
        return list(iter(self._walk(commits, oid)))

    @staticmethod
    def _walk(commits: dict[str, Commit], oid: str | None) -> Iterator[Commit]:
        while oid is not None:
            yield commits[oid]
            oid = commits[oid].parent

    def files(self, repo: str, revision: str = "main") -> dict[str, bytes]:
        """The content of a revision."""
        return self.repos[repo].at(revision).files

    def user_commits(self, repo: str, files: dict[str, bytes], branch: str = "main") -> str:
        """Somebody else changes files by hand; a new branch starts from main. Gives the commit's hash."""
        place = self.repos[repo]
        place.branches.setdefault(branch, place.branches["main"])
        return place.add(branch, "by hand", {**place.at(branch).files, **files}).oid

    # The requests, a method each: (handler, match) -> JSON, or bytes with headers.

    def create_repo(self, request: "Handler", **_: str) -> Any:
        body = request.json()
        name = f"{body.get('organization') or 'writer'}/{body['name']}"
        request.must_write(name)
        if name in self.repos:
            raise HubError(409, "You already created this model repo", url=f"{self.url}/{name}")
        repo = Repo(private=body.get("visibility") == "private" or bool(body.get("private")))
        repo.add("main", "initial commit", {".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"})
        self.repos[name] = repo
        return {"url": f"{self.url}/{name}", "name": name, "id": name}

    def whoami(self, request: "Handler", **_: str) -> Any:
        if request.token is None:
            raise HubError(401, "Invalid username or password.")
        return {"type": "user", "name": request.token.removeprefix("hf_"), "orgs": [{"name": "org"}]}

    def validate_yaml(self, request: "Handler", **_: str) -> Any:
        front = request.json()["content"].split("---")
        if len(front) > 1 and re.search(r"^license: *not-a-licence", front[1], flags=re.MULTILINE):
            raise HubError(400, "license is not valid")
        return {"warnings": [], "errors": []}

    def info(self, request: "Handler", repo: str, revision: str = "main") -> Any:
        place = self.readable(request, repo)
        commit = place.at(revision)
        return {
            "id": repo, "modelId": repo, "sha": commit.oid, "private": place.private, "tags": [], "downloads": 0,
            "siblings": [{"rfilename": path} for path in sorted(commit.files)],
        }  # fmt: skip

    def refs(self, request: "Handler", repo: str) -> Any:
        branches = self.readable(request, repo).branches
        named = [{"name": name, "ref": f"refs/heads/{name}", "targetCommit": oid} for name, oid in branches.items()]
        return {"branches": named, "tags": [], "converts": []}

    def branch(self, request: "Handler", repo: str, revision: str) -> Any:
        request.must_write(repo)
        place = self.readable(request, repo)
        if revision in place.branches:
            raise HubError(409, f"Reference already exists: {revision}")
        place.branches[revision] = place.at(request.json().get("startingPoint", "main")).oid
        return {}

    @staticmethod
    def entry(path: str, content: bytes) -> dict[str, Any]:
        """A file as tree and paths-info describe it."""
        entry = {"type": "file", "oid": git_oid(content), "size": len(content), "path": path}
        if is_lfs(path, len(content)):
            sha256 = hashlib.sha256(content).hexdigest()
            pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {len(content)}\n"
            entry |= {
                "oid": git_oid(pointer.encode()),
                "lfs": {"oid": sha256, "size": len(content), "pointerSize": len(pointer)},
            }
        return entry

    def tree(self, request: "Handler", repo: str, revision: str, path: str | None = None) -> Any:
        files = self.readable(request, repo).at(revision).files
        prefix = f"{path.strip('/')}/" if path else ""
        found = {name: content for name, content in files.items() if name.startswith(prefix)}
        if not found:
            raise HubError(404, f"{path} does not exist on {revision}", "EntryNotFound")
        if request.query.get("recursive", ["false"])[0].lower() not in ("true", "1"):
            found = {name: content for name, content in found.items() if "/" not in name.removeprefix(prefix)}
        return [self.entry(name, found[name]) for name in sorted(found)]

    def paths_info(self, request: "Handler", repo: str, revision: str) -> Any:
        files = self.readable(request, repo).at(revision).files
        body = request.body.decode()
        paths = json.loads(body)["paths"] if body.startswith("{") else parse_qs(body)["paths"]
        return [self.entry(path, files[path]) for path in paths if path in files]

    def commits(self, request: "Handler", repo: str, revision: str) -> Any:
        self.readable(request, repo)
        return [
            {"id": commit.oid, "title": commit.title, "message": "", "date": "2026-01-01T00:00:00.000Z", "authors": []}
            for commit in self.history(repo, revision)
        ]

    def preupload(self, request: "Handler", repo: str, revision: str) -> Any:
        request.must_write(repo)
        files, body = self.readable(request, repo).at(revision).files, request.json()
        ignored = body.get("gitIgnore", files.get(".gitignore", b"").decode()).split()
        answer = []
        for file in body["files"]:
            path, large = file["path"], is_lfs(file["path"], file["size"])
            oid = None
            if path in files:
                oid = hashlib.sha256(files[path]).hexdigest() if large else git_oid(files[path])
            answer.append(
                {
                    "path": path,
                    "uploadMode": "lfs" if large else "regular",
                    "shouldIgnore": any(fnmatch.fnmatch(path, pattern) for pattern in ignored),
                    "oid": oid,
                }
            )
        return {"files": answer}

    def lfs_batch(self, request: "Handler", repo: str) -> Any:
        request.must_write(repo)
        objects: list[dict[str, Any]] = []
        for item in request.json()["objects"]:
            upload = {"href": f"{self.url}/{repo}/lfs-storage/{item['oid']}"}
            verify = {"href": f"{self.url}/{repo}/lfs-verify"}
            there = item["oid"] in self.lfs
            objects.append({**item, **({} if there else {"actions": {"upload": upload, "verify": verify}})})
        return {"transfer": "basic", "objects": objects}

    def lfs_put(self, request: "Handler", repo: str, oid: str) -> Any:
        if hashlib.sha256(request.body).hexdigest() != oid:
            raise HubError(400, "the content does not have the hash it was announced with")
        self.lfs[oid] = request.body
        return {}

    def lfs_verify(self, request: "Handler", repo: str) -> Any:
        body = request.json()
        if len(self.lfs.get(body["oid"], b"")) != body["size"]:
            raise HubError(404, "no such object")
        return {}

    def commit(self, request: "Handler", repo: str, revision: str) -> Any:
        request.must_write(repo)
        place = self.readable(request, repo)
        if revision not in place.branches:
            raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        lines = [json.loads(line) for line in request.body.splitlines() if line.strip()]
        header = lines[0]["value"]
        if header.get("parentCommit") not in (None, place.branches[revision]):
            raise HubError(412, "A commit has happened since. Please refresh and try again.")
        files = dict(place.at(revision).files)
        for line in lines[1:]:
            key, value = line["key"], line["value"]
            if key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                if value["oid"] not in self.lfs:
                    raise HubError(400, f"LFS object {value['oid']} was never uploaded")
                files[value["path"]] = self.lfs[value["oid"]]
            elif value["path"] not in files:
                raise HubError(404, "A file with this name doesn't exist", "EntryNotFound")
            else:
                del files[value["path"]]
        commit = place.add(revision, header["summary"], files)
        return {"commitUrl": f"{self.url}/{repo}/commit/{commit.oid}", "commitOid": commit.oid, "success": True}

    def resolve(self, request: "Handler", repo: str, revision: str, path: str) -> Any:
        commit = self.readable(request, repo).at(revision)
        if path not in commit.files:
            raise HubError(404, "Entry not found", "EntryNotFound")
        content = commit.files[path]
        headers = {"X-Repo-Commit": commit.oid, "ETag": f'"{git_oid(content)}"', "Accept-Ranges": "bytes"}
        if is_lfs(path, len(content)):
            sha256 = hashlib.sha256(content).hexdigest()
            headers |= {"ETag": f'"{sha256}"', "X-Linked-Etag": f'"{sha256}"', "X-Linked-Size": str(len(content))}
        return content, headers

    def readable(self, request: "Handler", repo: str) -> Repo:
        """The repository, if this token may see it. The Hub does not say which of the two it is."""
        place = self.repos.get(repo)
        if place is None or (place.private and request.token != self.token):
            if request.token is None:
                raise HubError(401, "Invalid username or password.")
            raise HubError(404, "Repository not found", "RepoNotFound")
        return place


REVISION = r"(?P<revision>[^/]+)"
ROUTES: list[tuple[str, str, str]] = [
    ("GET", "/api/whoami-v2", "whoami"),
    ("POST", "/api/repos/create", "create_repo"),
    ("POST", "/api/validate-yaml", "validate_yaml"),
    ("GET", f"/api/models/{REPO}/refs", "refs"),
    ("GET", f"/api/models/{REPO}/revision/{REVISION}", "info"),
    ("GET", f"/api/models/{REPO}/tree/{REVISION}(?P<path>/.*)?", "tree"),
    ("GET", f"/api/models/{REPO}/commits/{REVISION}", "commits"),
    ("POST", f"/api/models/{REPO}/paths-info/{REVISION}", "paths_info"),
    ("POST", f"/api/models/{REPO}/branch/{REVISION}", "branch"),
    ("POST", f"/api/models/{REPO}/preupload/{REVISION}", "preupload"),
    ("POST", f"/api/models/{REPO}/commit/{REVISION}", "commit"),
    ("GET", f"/api/models/{REPO}", "info"),
    ("POST", rf"/{REPO}\.git/info/lfs/objects/batch", "lfs_batch"),
    ("PUT", f"/{REPO}/lfs-storage/(?P<oid>[0-9a-f]+)", "lfs_put"),
    ("POST", f"/{REPO}/lfs-verify", "lfs_verify"),
    ("GET", f"/{REPO}/resolve/{REVISION}/(?P<path>.+)", "resolve"),
]


class Handler(BaseHTTPRequestHandler):
    """Finds the route, checks the token, answers; or spoils it all if the hub says so."""

    hub: FakeHub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    body: bytes
    token: str | None
    query: dict[str, list[str]]

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def json(self) -> Any:
        """The request's body."""
        return json.loads(self.body or b"{}")

    def must_write(self, repo: str) -> None:
        """Refuse who may not write to the repository's namespace."""
        if self.token is None:
            raise HubError(401, "Invalid username or password.")
        if self.token != self.hub.token or repo.partition("/")[0] not in ("org", "writer"):
            raise HubError(403, "You don't have the rights to write there")

    def do_GET(self) -> None:
        """Also HEAD."""
        self.answer("GET")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        """JSON or ndjson."""
        self.answer("POST")

    def do_PUT(self) -> None:
        """An LFS object."""
        self.answer("PUT")

    def answer(self, method: str) -> None:
        """One request."""
        url = urlsplit(self.path)
        self.query = parse_qs(url.query)
        kind, values = "unknown", {}
        for wanted, pattern, name in ROUTES:
            if wanted == method and (match := re.fullmatch(pattern, url.path)):
                kind = name
                values = {key: unquote(value) for key, value in match.groupdict().items() if value}
                break
        fault = self.hub.take_fault(kind)
        if fault and fault.status is None and fault.answer is None and not fault.lost:
            self.read_body(part=True)
            self.cut()
            return
        self.body = self.read_body()
        if self.hub.before.get(kind):
            self.hub.before.pop(kind)()
        try:
            if fault and fault.status:
                raise HubError(fault.status, fault.message, fault.code)
            if fault and fault.answer is not None and not fault.lost:
                self.send(200, fault.answer, {"Content-Type": "text/html"})
                return
            if kind == "unknown":
                raise HubError(404, f"the fake Hub does not know {method} {url.path}")
            self.token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
            if self.token not in (None, self.hub.token, self.hub.reader) and kind != "lfs_put":
                raise HubError(401, "Invalid credentials in Authorization header")
            with self.hub.lock:
                self.hub.log.append(kind)
                result = getattr(self.hub, kind)(self, **values)
        except HubError as error:
            self.send_error_answer(error)
            return
        if fault and fault.answer is not None:
            self.send(200, fault.answer, {"Content-Type": "text/html"})
        elif fault:
            self.cut()
        elif isinstance(result, tuple):
            self.send(200, *result)
        else:
            self.send(200, json.dumps(result).encode(), {"Content-Type": "application/json"})

    def read_body(self, part: bool = False) -> bytes:
        """The whole of it, or a half."""
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            body = b""
            while size := int(self.rfile.readline().strip() or b"0", 16):
                body += self.rfile.read(size)
                self.rfile.readline()
                if part:
                    return body
            self.rfile.readline()
            return body
        length = int(self.headers.get("Content-Length") or 0)
        return self.rfile.read(length // 2 if part else length)

    def cut(self) -> None:
        """Reset the connection, as a broken line does."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def send_error_answer(self, error: HubError) -> None:
        """In the Hub's form."""
        headers = {"Content-Type": "application/json", "X-Error-Message": error.message}
        if error.code:
            headers["X-Error-Code"] = error.code
        content = {"error": error.message, "errors": [{"message": error.message}], **error.content}
        self.send(error.status, json.dumps(content).encode(), headers)

    def send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        """An answer; a part of it, if a part was asked for."""
        if status == 200 and (match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))):
            start, end = int(match[1]), min(int(match[2] or len(content)), len(content) - 1)
            headers = {**headers, "Content-Range": f"bytes {start}-{end}/{len(content)}"}
            status, content = 206, content[start : end + 1]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
