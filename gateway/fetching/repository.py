"""A repository of the hub: what it lists, and a file of it on this disk, whole and verified.

huggingface_hub does all of it but one thing: it begins a file anew in each process. So large
files are put into its cache by its own `http_get`, which goes on where one stopped, and it
finds them there.
"""

from pathlib import Path

from huggingface_hub import (
    HfApi,
    constants,
    get_hf_file_metadata,
    get_token,
    hf_hub_download,
    hf_hub_url,
)
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]  # it is

from gateway.catalog.heads.headers import LENGTH_BYTES, MAX_HEADER_BYTES, Tensors, tensors_in
from gateway.catalog.sources.hub import PATIENCE_SECONDS
from gateway.catalog.sources.weights import SNAPSHOTS
from gateway.fetching.choice import Listed
from gateway.fetching.download import At, Origin, download, first_bytes, meter

USUAL_BYTES = 100_000
"""What most heads have room in."""


class Repository:
    """One repository at one commit.

    Raises one of `FAULTS` where the hub does not answer, or not with it.
    """

    def __init__(self, source: str, revision: str | None = None) -> None:
        self.source = source
        self._revision = HfApi().resolve_revision(source, revision=revision)
        told = HfApi().model_info(
            source, revision=self._revision.resolved, files_metadata=True, timeout=PATIENCE_SECONDS
        )
        self.listed = [
            Listed(file.rfilename, file.size or 0, file.lfs.sha256 if file.lfs else None)
            for file in told.siblings or ()
        ]

    def is_here(self, file: Listed) -> bool:
        """Whether a file of this commit is in the cache."""
        return self.place(file).exists()

    def place(self, file: Listed) -> Path:
        """Where in the cache a file of this commit lies, or will."""
        return self._folder / SNAPSHOTS / self._revision.resolved / file.name

    def bytes_to_come(self, file: Listed) -> int:
        """How much of a file is to be downloaded: nothing of one that another commit has, too."""
        is_kept = file.sha256 is not None and self._blob(file.sha256).exists()
        return 0 if is_kept else file.size_bytes

    def file(self, file: Listed, at: At) -> Path:
        """A file on this disk.

        Raises:
            CardError: what comes is not what was announced.
        """
        if file.sha256 is not None and file.size_bytes <= constants.MAX_HTTP_DOWNLOAD_SIZE:
            self._place(file, at)
        found = hf_hub_download(
            self.source,
            file.name,
            revision=self._revision,
            tqdm_class=meter(at),
        )
        at(file.size_bytes)
        return Path(found)

    def head(self, file: Listed) -> Tensors:
        """What a safetensors file says of its weights, of which nothing is fetched.

        Raises:
            CardError: it is no whole safetensors file.
        """
        url = hf_hub_url(self.source, file.name, revision=self._revision.resolved)
        origin = Origin(url, _as_whom())
        start = first_bytes(origin, USUAL_BYTES)
        end = LENGTH_BYTES + int.from_bytes(start[:LENGTH_BYTES], "little")
        if len(start) < end <= MAX_HEADER_BYTES:
            start = first_bytes(origin, end)
        return tensors_in(self.place(file), file.size_bytes, start[LENGTH_BYTES:end])

    @property
    def _folder(self) -> Path:
        name = repo_folder_name(repo_id=self.source, repo_type="model")
        return Path(constants.HF_HUB_CACHE) / name

    def _blob(self, etag: str) -> Path:
        return self._folder / "blobs" / etag

    def _place(self, file: Listed, at: At) -> None:
        """Have a large file in the hub's cache under the name that it looks for."""
        commit = self._revision.resolved
        url = hf_hub_url(self.source, file.name, revision=commit)
        etag = get_hf_file_metadata(url, retry_on_errors=True).etag
        if etag is None:
            return
        blob = self._blob(etag)
        lock = Path(constants.HF_HUB_CACHE) / ".locks" / self._folder.name / f"{etag}.lock"
        for place in (blob, lock):
            place.parent.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(lock):
            if not blob.exists():
                part = blob.with_name(f"{etag}.part")
                download(Origin(url, _as_whom()), part, file, at)
                part.replace(blob)


def _as_whom() -> dict[str, str]:
    return {"authorization": f"Bearer {token}"} if (token := get_token()) else {}
