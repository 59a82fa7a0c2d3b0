import hashlib
import json
from contextlib import contextmanager

import httpx
import pytest

from pytest_llmperf.errors import ServerError
from pytest_llmperf.servers import provision
from pytest_llmperf.servers.clients.ollama_client import OllamaClient
from tests.servers.emulator.test_model_files import gguf
from tests.started import Handler, http_server


def import_into(answers, path, model="toy:1"):
    """Imports a file into a server that gives these answers by method and path; returns what it was sent."""
    seen = []

    def handle(request):
        path = "/api/blobs" if "blobs" in request.url.path else request.url.path
        seen.append((request.method, request.url.path, request.read()))
        return answers.get((request.method, path), httpx.Response(200, json={"status": "success", "models": []}))

    with OllamaClient("http://h1:1", transport=httpx.MockTransport(handle)) as control:
        provision.import_gguf(control, path, model)
    return [entry for entry in seen if entry[1] not in ("/api/show", "/api/tags")]


UNKNOWN = {
    ("POST", "/api/show"): httpx.Response(404, json={"error": "model 'toy:1' not found"}),
    ("HEAD", "/api/blobs"): httpx.Response(404),
}


def test_importing_a_file_needs_no_network(toy_file):
    """The file goes up as a blob under its digest, and the model is made of it."""
    _, (_, blob_path, blob), (_, create_path, create) = import_into(UNKNOWN, toy_file)
    assert blob == gguf()
    digest = blob_path.removeprefix("/api/blobs/")
    assert digest == f"sha256:{hashlib.sha256(gguf()).hexdigest()}"
    assert create_path == "/api/create"
    assert json.loads(create) == {"model": "toy:1", "files": {"Toy.gguf": digest}, "stream": False}


def test_a_blob_that_is_there_is_not_sent_again(toy_file):
    """Files are large: a server that has the blob is only asked for it, and the model is made of the one there."""
    (head, *_), (create, path, _) = import_into({**UNKNOWN, ("HEAD", "/api/blobs"): httpx.Response(200)}, toy_file)
    assert (head, create, path) == ("HEAD", "POST", "/api/create")


@pytest.mark.parametrize("same", [True, False])
def test_a_model_of_another_file_is_replaced(toy_file, same):
    """A name alone proves nothing: the model that is there is used only when it is made of this very file."""
    digest = hashlib.sha256(gguf() if same else b"another").hexdigest()
    shown = httpx.Response(200, json={"modelfile": f"FROM /models/blobs/sha256-{digest}\n"})
    sent = import_into({**UNKNOWN, ("POST", "/api/show"): shown}, toy_file)
    assert [path for _, path, _ in sent if path == "/api/create"] == ([] if same else ["/api/create"])


class Store:
    """A server with a store on disk; one that rewrites makes another file of each that it is given."""

    def __init__(self, folder, *, rewrites):
        self.folder = folder
        self.rewrites = rewrites
        self.sent = []
        self.models = {}
        (folder / "blobs").mkdir(parents=True)
        (folder / "manifests").mkdir()

    def blobs(self):
        return {path.name.removeprefix("sha256-") for path in (self.folder / "blobs").iterdir()}

    def put(self, content):
        digest = hashlib.sha256(content).hexdigest()
        (self.folder / "blobs" / f"sha256-{digest}").write_bytes(content)
        return digest

    def __call__(self, request):
        path, body = request.url.path, request.read()
        if path == "/api/show":
            made = self.models.get(json.loads(body)["model"])
            if made is None:
                return httpx.Response(404, json={"error": "not found"})
            return httpx.Response(200, json={"modelfile": f"FROM {self.folder}/blobs/sha256-{made}\nTEMPLATE x"})
        if path == "/api/tags":
            return httpx.Response(200, json={"models": []})
        self.sent.append((request.method, path.rpartition(":")[0] or path))
        if request.method == "HEAD":
            return httpx.Response(200 if path.rpartition(":")[2] in self.blobs() else 404)
        if path == "/api/create":
            asked = json.loads(body)
            (raw,) = asked["files"].values()
            made = raw.removeprefix("sha256:")
            content = (self.folder / "blobs" / f"sha256-{made}").read_bytes()
            made = self.put(b"rewritten" + content) if self.rewrites else made
            self.models[asked["model"]] = made
            (self.folder / "manifests" / asked["model"].replace(":", "-")).write_text(f'{{"digest":"sha256:{made}"}}')
        else:
            self.put(body)
        return httpx.Response(200, json={"status": "success"})


IMPORT = [("HEAD", "/api/blobs/sha256"), ("POST", "/api/blobs/sha256"), ("POST", "/api/create")]


@pytest.mark.parametrize("rewrites", [True, False])
def test_a_file_is_imported_once_and_stored_once(toy_file, tmp_path, rewrites):
    """The server's result is remembered; the uploaded file is not kept beside it; the needed space is reported once."""
    server, said = Store(tmp_path / "store", rewrites=rewrites), []
    for _ in range(3):  # as at three starts
        with OllamaClient("http://h1:1", transport=httpx.MockTransport(server)) as control:
            provision.import_gguf(control, toy_file, "toy:1", store=server.folder, say=said.append)
    assert server.sent == IMPORT
    assert server.blobs() == {server.models["toy:1"]}
    assert (server.models["toy:1"] == hashlib.sha256(gguf()).hexdigest()) is not rewrites
    assert said == [
        "importing Toy.gguf as toy:1 (0 MB)",
        f"imported Toy.gguf; the models in {server.folder} take 0 MB",
    ]


def test_a_file_that_another_model_is_made_of_stays(toy_file, tmp_path):
    """Only what no model of the store needs is removed; what the name was made of before goes."""
    server = Store(tmp_path / "store", rewrites=False)
    with OllamaClient("http://h1:1", transport=httpx.MockTransport(server)) as control:
        provision.import_gguf(control, toy_file, "kept:1", store=server.folder)
        server.rewrites = True
        provision.import_gguf(control, toy_file, "toy:1", store=server.folder)
        first = server.models["toy:1"]
        toy_file.write_bytes(gguf(template="other"))
        provision.import_gguf(control, toy_file, "toy:1", store=server.folder)
    assert server.blobs() == set(server.models.values())
    assert first not in server.blobs()


def test_a_removed_store_is_filled_again(toy_file, tmp_path):
    """What is remembered of a file says nothing of what a store has; and a store that is not ours keeps all."""
    for name in ("first", "second"):
        server = Store(tmp_path / name, rewrites=True)
        with OllamaClient("http://h1:1", transport=httpx.MockTransport(server)) as control:
            provision.import_gguf(control, toy_file, "toy:1")
        assert server.sent == IMPORT
        assert len(server.blobs()) == 2


@pytest.mark.parametrize("path", ["/api/blobs", "/api/create"])
def test_a_refused_import_is_an_error(toy_file, path):
    """With the server's words, and what to look at."""
    refused = httpx.Response(400, json={"error": "digest mismatch"})
    with pytest.raises(ServerError, match="digest mismatch") as caught:
        import_into({**UNKNOWN, ("POST", path): refused}, toy_file)
    assert "room for a copy" in caught.value.next_step


# pulling


@contextmanager
def registry_of(*lines: object, status: int = 200):
    """The address of a server that answers a pull with these lines, one after the other, and what it was asked."""
    asked = []

    class Registry(Handler):
        def do_POST(self):
            asked.append((self.path, self.body()))
            self.send_response(status)
            self.end_headers()
            for line in lines:
                self.wfile.write(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n")
                self.wfile.flush()

    with http_server(Registry) as url:
        yield url, asked


BLOB = {"status": "pulling a1b2", "digest": "sha256:a1b2", "total": 8_000_000}


def test_a_pull_shows_how_far_it_is():
    """A bar where the server says how much there is, its words elsewhere; its own end is the end."""
    said = []
    lines = [{"status": "pulling manifest"}, BLOB, {**BLOB, "completed": 2_000_000}, {"status": "success"}]
    clock = iter(range(100))
    with registry_of(*lines) as (url, asked), OllamaClient(url) as control:
        provision.pull(control, "toy:1", said.append, clock=lambda: next(clock))
    assert asked == [("/api/pull", {"model": "toy:1"})]
    assert said == [
        "pulling toy:1: pulling manifest",
        f"pulling toy:1: [{'.' * 20}] 0 % of 8 MB",
        f"pulling toy:1: [{'#' * 5}{'.' * 15}] 25 % of 8 MB",
    ]


def test_a_pull_does_not_flood_who_is_told():
    """Thousands of lines come of a large model: at most five a second are passed on."""
    said = []
    with registry_of(*[BLOB] * 50, {"status": "success"}) as (url, _), OllamaClient(url) as control:
        provision.pull(control, "toy:1", said.append, clock=lambda: 7.0)
    assert len(said) == 1


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([{"status": "pulling manifest"}, {"error": "pull model manifest: file does not exist"}], "does not exist"),
        ([{"status": "pulling manifest"}], "its last status was: pulling manifest"),
        ([b"<html>\n"], "not a JSON object: '<html>'"),
        ([], "last status was: none"),
    ],
)
def test_a_pull_that_fails(lines, words):
    """An error line, an end without success, or no Ollama: the error has the last message and the next step."""
    with (
        registry_of(*lines) as (url, _),
        OllamaClient(url) as control,
        pytest.raises(ServerError, match=words) as caught,
    ):
        provision.pull(control, "toy:1", lambda _: None)
    assert "--llmperf-gguf" in caught.value.next_step


def test_a_pull_that_is_refused():
    """A status that is an error has its text in the message."""
    with (
        registry_of({"error": "no"}, status=403) as (url, _),
        OllamaClient(url) as control,
        pytest.raises(ServerError, match=r"answered 403: .*no"),
    ):
        provision.pull(control, "toy:1", lambda _: None)


def test_a_pull_from_nobody():
    """A server that is gone is named."""
    with registry_of() as (url, _):
        pass
    with OllamaClient(url) as control, pytest.raises(ServerError, match="nothing answers there"):
        provision.pull(control, "toy:1", lambda _: None)
