"""Publish an export: one commit that is there as a whole, or nothing."""

import hashlib
import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, constants, get_token
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import (
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
    validate_repo_id,
)

from .publishable import changes_loading, check_publishable, is_export_file, list_publishable

# The library underneath has had two names, httpx and httpx2; its errors share this base under either.
_HTTPError: type[Exception] = next(base for base in HfHubHTTPError.__mro__ if base.__name__ == "HTTPError")
# How the client fails on an answer that is none of the Hub's: HTML, or JSON of another shape.
_NO_ANSWER = (LookupError, TypeError, AttributeError, json.JSONDecodeError, UnicodeDecodeError)
_FAILURES = (OSError, ValueError, RuntimeError, _HTTPError, *_NO_ANSWER)
_LFS_FROM_BYTES = 10_000_000  # the Hub's limit for files that git itself stores
# What git refuses in the name of a branch, and spaces of other alphabets.
_NO_BRANCH = re.compile(r"[\x00-\x20\x7f\s~^:?*\[\\]|\.\.|@\{|//|^[-/]|[/.]$|\.lock(/|$)|(^|/)\.|^@?$")
_OID = re.compile("[0-9a-f]{40}")
_READ_SECONDS = 30.0
# A .gitignore in the repository would drop files from the commit without a word: a half-published model.
_IGNORE_NOTHING = "# all files of an export belong together\n"

_NOTHING = "nothing was published"

Action = Literal["add", "change", "same", "delete", "keep", "send"]
"""What happens to a file; `keep` is a file that no export writes, `send` one whose state on the Hub is unknown."""


@dataclass(frozen=True)
class FileChange:
    """One file of a push.

    Attributes:
        path: in the repository.
        action: see `Action`.
        size: in bytes, of the new content; of the old where there is none.
        lfs: whether the Hub keeps it as a large file. For new files this is a forecast: the Hub decides.

    Example:

    >>> FileChange("config.json", "add", size=1200, lfs=False).path
    'config.json'
    """

    path: str
    action: Action
    size: int
    lfs: bool


@dataclass(frozen=True)
class PushResult:
    """What a push did, or with `dry_run` would do. `str()` of it is the report for people.

    Attributes:
        repo_id, branch: where to.
        url: of the commit, or of the repository where there is no new commit.
        oid: hash of the commit that now holds the model: `revision=oid` pins it. None in a dry run.
        published: whether this push made a commit.
        new_repository: "public" or "private", if this push creates the repository.
        new_branch: whether this push creates the branch.
        files: sorted by path.
        dry_run: nothing was sent.
        unknown: why the Hub's state is not known; only in a dry run.

    Example:

    >>> result = PushResult("my-lab/vqdna-yeast", "main", files=(FileChange("config.json", "add", 1200, False),))
    >>> result.upload_bytes
    1200
    """

    repo_id: str
    branch: str
    url: str = ""
    oid: str | None = None
    published: bool = False
    new_repository: str = ""
    new_branch: bool = False
    files: tuple[FileChange, ...] = ()
    dry_run: bool = False
    unknown: str = ""

    @property
    def upload_bytes(self) -> int:
        """How many bytes of content are, or would be, sent."""
        return sum(file.size for file in self.files if file.action in ("add", "change", "send"))

    def __str__(self) -> str:
        lines = []
        if self.dry_run:
            lines.append("dry run: nothing was sent to the Hub")
        if self.unknown:
            lines.append(f"what {self.repo_id} holds is not known: {self.unknown}")
        elif self.new_repository:
            verb = "would be created" if self.dry_run else "created"
            lines.append(f"repository {self.repo_id} ({self.new_repository}): {verb}")
        else:
            state = "" if not self.new_branch else ": would be created" if self.dry_run else ": created"
            lines.append(f"repository {self.repo_id}, branch {self.branch}{state}")
        for file in self.files:
            kind = "lfs" if file.lfs else "regular"
            note = " (no export writes it)" if file.action == "keep" else ""
            lines.append(f"  {file.action:<6} {file.size:>13,} bytes  {kind:<7}  {file.path}{note}")
        sent = [file for file in self.files if file.action in ("add", "change", "send")]
        large = sum(file.size for file in sent if file.lfs)
        if sent:
            verb = "to upload" if self.dry_run else "uploaded"
            lines.append(f"{verb}: {len(sent)} files, {self.upload_bytes:,} bytes, {large:,} of them lfs")
        elif not any(file.action == "delete" for file in self.files):
            lines.append("nothing to change: the repository holds exactly this export")
        if self.oid:
            lines.append(f"{'published' if self.published else 'already there'}: {self.url}")
            lines.append(f'pin it: from_pretrained("{self.repo_id}", revision="{self.oid}", trust_remote_code=True)')
        return "\n".join(lines)


@dataclass(frozen=True)
class _Local:
    """A file as it was when the push began: its hashes, and its content unless it is a large one."""

    size: int
    git_oid: str
    sha256: str
    content: bytes | None


@dataclass(frozen=True)
class _Export:
    """The folder as it was when the push began. This is what is published, or nothing is."""

    folder: Path
    files: dict[str, _Local]

    @classmethod
    def read(cls, folder: Path) -> "_Export":
        """Read every file once; names that do not belong to an export are refused before that."""
        names = list_publishable(folder)
        try:
            return cls(folder, {name: _read_local(folder / name) for name in names})
        except OSError as error:
            raise ValueError(f"{error.filename or folder} cannot be read: {error.strerror or error}") from error

    def refuse_changes(self, state: str) -> None:
        """Read the folder again: the large files go by their path, and others wrote while they went."""
        try:
            now = _Export.read(self.folder).files
        except ValueError:  # a file that does not belong there, or one that is gone
            now = {}
        names = [name for name in sorted(self.files.keys() | now.keys()) if self.files.get(name) != now.get(name)]
        if names:
            which = f"{self.folder / names[0]}" if len(names) == 1 else f"{self.folder}"
            raise ValueError(f"{which} changed while it was pushed: {state}; push again")

    def addition(self, name: str) -> CommitOperationAdd:
        """Of the content that was read, unless it is a large file."""
        content = self.files[name].content
        return CommitOperationAdd(name, self.folder / name if content is None else content)


@dataclass(frozen=True)
class _Remote:
    """What the Hub holds: nothing, a repository without the branch (then `head` is main's), or a branch."""

    exists: bool = False
    private: bool = False
    branch_exists: bool = False
    head: str | None = None
    files: dict[str, RepoFile] = field(default_factory=dict)


def push(
    folder: str | Path,
    repo_id: str,
    *,
    private: bool = False,
    revision: str = "main",
    message: str | None = None,
    dry_run: bool = False,
    token: str | None = None,
    endpoint: str | None = None,
) -> PushResult:
    """Publish an exported folder to a Hub repository in one commit.

    The folder is checked first (`check_publishable`); repository and branch are created if need be. Files that did
    not change are not sent. What an earlier export wrote and this one lacks (`is_export_file`) is deleted in the same
    commit; all else in the repository stays, and what would change the model that is loaded (`changes_loading`) is
    refused. If somebody commits or writes to the folder in the meantime, or the connection breaks, the branch stays as
    it was and the call can be repeated.

    Args:
        folder: written by `export`, with a card.
        repo_id: `organisation/name`.
        private: create the repository as a private one; default: what the organisation's settings say.
        revision: the branch.
        message: of the commit.
        dry_run: only say what would be done; works without the Hub, too.
        token: with write access; default: `HF_TOKEN`, or the one that `hf auth login` stored.
        endpoint: of the Hub; default: `HF_ENDPOINT`, or the public one.

    Returns:
        The commit and what became of each file. If nothing changed there is no new commit, and `published` is False.

    Raises:
        ValueError: if the folder may not be published, or the Hub refuses or cannot be reached; it says what to do
            and in which state the repository is.

    Example:

    >>> push("vqdna-hrq", "vqdna-hrq", dry_run=True)
    Traceback (most recent call last):
    ValueError: 'vqdna-hrq' is no repository of the Hub: write organisation/name
    """
    _check_target(repo_id, revision)
    _check_token(token)
    export = _Export.read(Path(folder))
    check_publishable(folder)
    api = HfApi(endpoint=endpoint, token=token)
    plan, remote = _plan(api, export, PushResult(repo_id, revision, dry_run=dry_run), private)
    return plan if dry_run else _publish(api, export, remote, plan, message)


def _plan(api: HfApi, export: _Export, plan: PushResult, private: bool) -> tuple[PushResult, _Remote]:
    """Look at the Hub and say what must be done there."""
    repo_id, branch = plan.repo_id, plan.branch
    try:
        with _one_line(api, repo_id, _NOTHING):
            remote = _read_remote(api, repo_id, branch)
    except ValueError as error:
        if not (plan.dry_run and _is_unreachable(error.__cause__)):
            raise
        files = tuple(_new_file(name, local, "send") for name, local in export.files.items())
        return replace(plan, files=files, unknown=str(error).removesuffix(f": {_NOTHING}")), _Remote()
    if private:
        _check_private(remote, repo_id)
    files = _compare(export, remote)
    _refuse_foreign(repo_id, remote, files, _NOTHING)
    plan = replace(
        plan,
        url=f"{api.endpoint}/{repo_id}",
        new_repository="" if remote.exists else "private" if private else "public",
        new_branch=not remote.branch_exists and (remote.exists or branch != "main"),
        files=files,
    )
    return plan, remote


def _check_target(repo_id: str, revision: str) -> None:
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise ValueError(f"{repo_id!r} is no repository of the Hub: {error}") from error
    if repo_id.count("/") != 1:
        raise ValueError(f"{repo_id!r} is no repository of the Hub: write organisation/name")
    if _OID.fullmatch(revision):
        raise ValueError(f"revision {revision!r} is no branch: a commit cannot be changed; name the branch to push to")
    if _NO_BRANCH.search(revision):
        raise ValueError(
            f"revision {revision!r} is no name of a branch: take letters, digits, and - _ . / between them"
        )


def _token_of(given: str | None) -> str | None:
    """The token that requests carry, if it can be had."""
    if given is not None:
        return given
    try:
        return get_token()
    except _FAILURES:
        return None  # the first request says why


def _check_token(given: str | None) -> None:
    """Refuse what no header can carry, without showing it: the client's own message would."""
    token = _token_of(given)
    if isinstance(token, str) and not re.fullmatch("[!-~]+", token):
        whose = "that `hf auth login` or HF_TOKEN left" if given is None else "that was given"
        raise ValueError(
            f"the token {whose} is empty, or holds white space or letters that no token has: copy it again: {_NOTHING}"
        )


def _refuse_foreign(repo_id: str, remote: _Remote, files: tuple[FileChange, ...], state: str) -> None:
    """A repository of another model, and files that stay and would change what is loaded."""
    if "config.json" in remote.files and "configuration_vqdna.py" not in remote.files:
        raise ValueError(f"{repo_id} holds another model: choose another repository: {state}")
    if names := [file.path for file in files if file.action == "keep" and changes_loading(file.path)]:
        raise ValueError(
            f"the repository holds {', '.join(names)}, which would change the model that is loaded: "
            f"delete {'it' if len(names) == 1 else 'them'} there first: {state}"
        )


def _check_private(remote: _Remote, repo_id: str) -> None:
    if remote.exists and not remote.private:
        raise ValueError(
            f"{repo_id} is a public repository, and private is for new ones: make it private in its settings first, or "
            f"choose another name: {_NOTHING}"
        )


def _read_remote(api: HfApi, repo_id: str, branch: str) -> _Remote:
    branch_exists = True
    try:
        try:
            info = api.model_info(repo_id, revision=branch, timeout=_READ_SECONDS)
        except RevisionNotFoundError:
            branch_exists = False
            info = api.model_info(repo_id, timeout=_READ_SECONDS)
    except RepositoryNotFoundError:
        return _Remote()
    # The tree of this commit, not of the branch, which may move between the two requests.
    if not _OID.fullmatch(info.sha):
        raise TypeError("sha")
    tree = api.list_repo_tree(repo_id, recursive=True, revision=info.sha)
    files = {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}
    if info.siblings and not files:
        raise TypeError("tree")
    return _Remote(True, bool(info.private), branch_exists, info.sha, files)


def _new_file(name: str, local: _Local, action: Action) -> FileChange:
    lfs = name.endswith((".safetensors", ".onnx")) or local.size > _LFS_FROM_BYTES
    return FileChange(name, action, local.size, lfs)


def _read_local(path: Path) -> _Local:
    size = path.stat().st_size
    content = path.read_bytes() if size <= _LFS_FROM_BYTES else None
    size = size if content is None else len(content)
    git, sha256 = hashlib.sha1(b"blob %d\0" % size), hashlib.sha256()  # a large file's hash there, and git's
    with path.open("rb") if content is None else io.BytesIO(content) as stream:
        while block := stream.read(1 << 20):
            git.update(block)
            sha256.update(block)
    return _Local(size, git.hexdigest(), sha256.hexdigest(), content)


def _compare(export: _Export, remote: _Remote) -> tuple[FileChange, ...]:
    """What must happen to each file, here or there."""
    changes = []
    for name, local in export.files.items():
        new = _new_file(name, local, "add")
        if there := remote.files.get(name):
            lfs = there.lfs is not None
            same = local.sha256 == there.lfs.sha256 if there.lfs is not None else local.git_oid == there.blob_id
            new = replace(new, action="same" if same else "change", lfs=lfs)
        changes.append(new)
    for name, there in remote.files.items():
        if name not in export.files:
            action: Action = "delete" if is_export_file(name) else "keep"
            changes.append(FileChange(name, action, there.size, there.lfs is not None))
    return tuple(sorted(changes, key=lambda change: change.path))


def _publish(api: HfApi, export: _Export, remote: _Remote, result: PushResult, message: str | None) -> PushResult:
    """Create what is missing, upload, commit."""
    repo_id, branch, state = result.repo_id, result.branch, _NOTHING
    if not remote.exists:
        private = result.new_repository == "private"
        with _one_line(api, repo_id, state):
            api.create_repo(repo_id, private=private or None, exist_ok=True)
        with _one_line(api, repo_id, f"{state}; {repo_id} exists now"):
            remote = _read_remote(api, repo_id, branch)
        if not remote.exists:
            raise ValueError(f"{repo_id} is there, and this token may not see it: check the token: {_NOTHING}")
        if private:
            _check_private(remote, repo_id)
        result = replace(result, files=_compare(export, remote))
        _refuse_foreign(repo_id, remote, result.files, state)
        if set(remote.files) <= {".gitattributes"}:
            result = replace(result, new_repository="private" if remote.private else "public")
            state += f"; {repo_id} exists now and is empty"
        else:  # somebody else was quicker
            result = replace(result, new_repository="")
    if not remote.branch_exists:
        with _one_line(api, repo_id, state):
            api.create_branch(repo_id, branch=branch, revision=remote.head, exist_ok=True)
        state += f"; the branch {branch} exists now and holds what main holds"
    sent = [file.path for file in result.files if file.action in ("add", "change")]
    deleted = [file.path for file in result.files if file.action == "delete"]
    if not sent and not deleted:
        export.refuse_changes(state)
        return replace(result, oid=remote.head)
    with _one_line(api, repo_id, state):
        additions = [export.addition(name) for name in sent]
        with _bars(any(export.files[name].content is None for name in sent)):
            api.preupload_lfs_files(
                repo_id, additions, revision=branch, free_memory=False, gitignore_content=_IGNORE_NOTHING
            )
    export.refuse_changes(state)
    oid = _commit(api, export, remote, result, additions, message, state)
    return replace(result, oid=oid, url=f"{api.endpoint}/{repo_id}/commit/{oid}", published=True)


@contextmanager
def _bars(wanted: bool) -> Iterator[None]:
    """Progress bars for large files only, unless the environment says otherwise."""
    if wanted or constants.HF_HUB_DISABLE_PROGRESS_BARS is not None or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


def _commit(
    api: HfApi,
    export: _Export,
    remote: _Remote,
    result: PushResult,
    additions: list[CommitOperationAdd],
    message: str | None,
    state: str,
) -> str:
    """Make the commit and give its hash; if the answer is lost, look whether it was made."""
    deletions = [CommitOperationDelete(file.path) for file in result.files if file.action == "delete"]
    try:
        oid = api.create_commit(
            result.repo_id,
            [*additions, *deletions],
            commit_message=message or "Publish with vqdna push",
            revision=result.branch,
            parent_commit=remote.head,
        ).oid
        if not _OID.fullmatch(oid):
            raise TypeError("commitOid")
        return oid
    except _FAILURES as error:
        refused = (_status_of(error) or 500) < 500
        try:
            now = remote if refused else _read_remote(api, result.repo_id, result.branch)
        except _FAILURES:
            raise ValueError(
                f"the connection to {api.endpoint} was lost while {result.repo_id} was committed to, and whether the "
                "commit was made cannot be seen: it is there as a whole or not at all; run the same push again"
            ) from error
        actions = {change.action for change in _compare(export, now)}
        if now.head is not None and now.head != remote.head and actions <= {"same", "keep"}:
            return now.head
        raise _failure(api, result.repo_id, state, error) from error


def _origin(error: BaseException | None) -> BaseException | None:
    """What the Hub or the line said: uploads wrap it into an error of their own."""
    while isinstance(error, RuntimeError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _status_of(error: BaseException | None) -> int | None:
    return getattr(getattr(_origin(error), "response", None), "status_code", None)


def _is_unreachable(error: BaseException | None) -> bool:
    """Whether no answer came, or none that a later try would not better."""
    status = _status_of(error)
    return status is None or status == 429 or status >= 500


@contextmanager
def _one_line(api: HfApi, repo_id: str, state: str) -> Iterator[None]:
    """Whatever goes wrong with the Hub becomes one line: what it is, what to do, and in which state the Hub is."""
    try:
        yield
    except _FAILURES as error:
        raise _failure(api, repo_id, state, error) from error


def _failure(api: HfApi, repo_id: str, state: str, error: Exception) -> ValueError:
    message, token = _explain(error, api.endpoint, repo_id), _token_of(api.token)
    if isinstance(token, str):
        message = message.replace(token, "***")
    return ValueError(f"{message}: {state}")


def _explain(failure: Exception, endpoint: str, repo_id: str) -> str:
    status, error = _status_of(failure), _origin(failure)
    organisation = repo_id.partition("/")[0]
    server: Any = getattr(error, "server_message", None)
    said = f" ({' '.join(str(server).split())})" if server else ""
    known = {
        401: "the Hub knows no such user: log in with `hf auth login`, or set HF_TOKEN to a valid token",
        403: f"this token may not write to {repo_id}{said}: ask for write access to {organisation}, or take a token "
        "with the permission to write",
        404: f"{repo_id} was not found, or this token may not see it{said}: check the name and the token",
        409: f"the Hub sees a conflict in {repo_id}{said}: look at it and try again",
        412: f"somebody has committed to {repo_id} in the meantime: look at what changed, then push again",
        429: f"the Hub asks for fewer requests{said}: try again in some minutes",
    }
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set: unset it to publish"
    if status in known:
        return known[status]
    if status is not None and status >= 500:
        return f"the Hub has trouble of its own (status {status}): try again later"
    if status is not None:
        return f"the Hub refuses (status {status}){said or ': ' + ' '.join(str(error).split())}"
    if isinstance(error, _NO_ANSWER):
        return f"what answers at {endpoint} is not the Hub: check HF_ENDPOINT, and the proxy or login page in between"
    if isinstance(error, (_HTTPError, OSError)):
        reason = " ".join(str(error).split()) or type(error).__name__
        return f"the connection to {endpoint} failed ({reason}): try again"
    return " ".join(str(error).split())
