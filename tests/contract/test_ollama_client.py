"""The `ollama` package from PyPI, unchanged, against the server."""

from collections.abc import Iterator
from datetime import timedelta

import ollama
import pytest

from tests.contract.conftest import OPTIONS, PATIENCE_S


@pytest.fixture
def client(server_url) -> Iterator[ollama.Client]:
    client = ollama.Client(host=server_url, timeout=PATIENCE_S, trust_env=False)
    yield client
    client._client.close()


def test_generate(client, model_name):
    """One answer with text, reason and all figures."""
    answer = client.generate(model_name, "The capital of France is", options=OPTIONS)
    assert answer.done
    assert answer.response
    assert answer.done_reason == "length"
    assert answer.eval_count == 8
    assert answer.prompt_eval_count >= 5
    assert answer.total_duration >= answer.load_duration + answer.prompt_eval_duration + answer.eval_duration > 0


def test_generate_streamed(client, model_name):
    """The pieces make up the text; only the last is done and carries the figures."""
    *pieces, last = client.generate(model_name, "The capital of France is", options=OPTIONS, stream=True)
    assert len(pieces) > 1
    assert not any(piece.done for piece in pieces)
    assert last.done
    assert last.eval_count == 8
    assert "".join(piece.response for piece in pieces)


def test_chat(client, model_name):
    """An answer of the assistant to a conversation."""
    messages = [
        {"role": "system", "content": "You answer in one word."},
        {"role": "user", "content": "Name a colour."},
        {"role": "assistant", "content": "Blue."},
        {"role": "user", "content": "Another one."},
    ]
    answer = client.chat(model_name, messages, options=OPTIONS)
    assert answer.message.role == "assistant"
    assert answer.message.content
    assert answer.done


def test_chat_streamed(client, model_name):
    """The pieces of the assistant's message, then the figures."""
    *pieces, last = client.chat(
        model_name, [{"role": "user", "content": "Count to ten."}], options=OPTIONS, stream=True
    )
    assert all(piece.message.role == "assistant" for piece in pieces)
    assert "".join(piece.message.content for piece in pieces)
    assert last.done_reason in ("length", "stop")
    assert last.eval_count > 0


def test_a_longer_conversation_has_a_longer_prompt(client, model_name):
    """All turns reach the model, cached or not: the count covers the whole prompt."""
    turns = [{"role": "user", "content": "Tell me about the sea."}]
    short = client.chat(model_name, turns, options=OPTIONS)
    turns += [{"role": "assistant", "content": short.message.content}, {"role": "user", "content": "Go on, please."}]
    assert client.chat(model_name, turns, options=OPTIONS).prompt_eval_count > short.prompt_eval_count


def test_list_and_show(client, model_name):
    """The model is listed with its size and details, and can be shown."""
    (entry,) = [entry for entry in client.list().models if entry.model == model_name]
    assert entry.digest
    assert entry.details.family
    shown = client.show(model_name)
    assert shown.details.quantization_level == entry.details.quantization_level
    assert "completion" in shown.capabilities
    assert shown.modelinfo


def test_ps_preload_and_unload(client, model_name, http):
    """Loaded by an empty prompt, listed while loaded, gone after keep_alive 0."""
    assert client.generate(model_name, "", options={"num_ctx": 512}, keep_alive="10m").done_reason == "load"
    (entry,) = client.ps().models
    assert entry.model == model_name
    assert entry.context_length == 512
    assert entry.expires_at
    assert client.generate(model_name, "", keep_alive=0).done_reason == "unload"
    for _ in range(10_000):
        if not client.ps().models:
            return
    raise AssertionError("the model is still loaded")


@pytest.mark.parametrize("endpoint", ["generate", "chat", "show"])
def test_an_unknown_model(client, endpoint):
    """404 and Ollama's text, which the client shows."""
    with pytest.raises(ollama.ResponseError, match=r"model 'no-such-model(:latest)?' not found") as caught:
        getattr(client, endpoint)("no-such-model")
    assert caught.value.status_code == 404


def test_an_unknown_model_streamed(client):
    """The same for a requested stream: the error comes before the stream begins."""
    with pytest.raises(ollama.ResponseError, match=r"model 'no-such-model' not found") as caught:
        list(client.chat("no-such-model", [{"role": "user", "content": "x"}], stream=True))
    assert caught.value.status_code == 404


def test_a_wrong_option(client, model_name):
    """An error that names the option."""
    with pytest.raises(ollama.ResponseError, match="num_ctx") as caught:
        client.generate(model_name, "x", options={"num_ctx": "large"})
    assert caught.value.status_code == 500


def test_an_unknown_option_is_ignored(client, model_name):
    """As Ollama does, with a warning in its log."""
    assert client.generate(model_name, "The sea", options={**OPTIONS, "no_such_option": 1}).done


def test_stop_texts_end_the_answer(client, model_name):
    """The text before the stop, without it, and the reason `stop`."""
    greedy = {**OPTIONS, "temperature": 0.0, "num_predict": 24}
    whole = client.generate(model_name, "One two three four", raw=True, options=greedy).response
    stop = whole.split()[4]
    cut = client.generate(model_name, "One two three four", raw=True, options={**greedy, "stop": [stop]})
    assert cut.response == whole[: whole.index(stop)]
    assert cut.done_reason == "stop"


def test_a_seed_decides_the_text(client, model_name):
    """The same seed gives the same text, at a temperature where others give another."""

    def text(seed):
        options = {**OPTIONS, "seed": seed, "temperature": 1.0, "num_predict": 12}
        return client.generate(model_name, "Once upon a time", raw=True, options=options).response

    assert text(1) == text(1)
    assert len({text(1), text(2), text(3)}) > 1


@pytest.mark.parametrize(
    "greedy", [{"temperature": 0.0}, {"temperature": 1.5, "top_k": 1}], ids=["temperature 0", "top_k 1"]
)
def test_greedy_text_has_no_seed(client, model_name, greedy):
    """Temperature 0 and a single candidate give the likeliest text, whatever the seed and however hot."""

    def text(options):
        options = {**OPTIONS, "num_predict": 12, **options}
        return client.generate(model_name, "Once upon a time", raw=True, options=options).response

    likeliest = text({"temperature": 0.0, "seed": 1})
    assert {text({**greedy, "seed": seed}) for seed in (2, 3, 4)} == {likeliest}


def test_the_rest_of_the_sampler_counts(client, model_name, served):
    """A nucleus of nothing is greedy as well; what repeats is punished. The scripted engine has no sampler to ask."""
    if served.kind == "simulated":
        pytest.skip("the scripted engine draws words, it has no probabilities")

    def text(**options):
        options = {**OPTIONS, "temperature": 0.0, "num_predict": 24, **options}
        return client.generate(model_name, "one two one two one two one", raw=True, options=options).response

    assert text(temperature=1.5, top_p=1e-6, seed=2) == text(temperature=1.5, top_p=1e-6, seed=3)
    assert text(repeat_penalty=1.0) != text(repeat_penalty=1.9)


def test_num_predict_limits_the_answer(client, model_name):
    """No more tokens than asked for."""
    for limit in (1, 3):
        assert client.generate(model_name, "The sea", options={**OPTIONS, "num_predict": limit}).eval_count == limit


def test_other_options_load_the_model_again(client, model_name):
    """A request for another context window puts it into force, and the reported load time is not zero."""
    client.generate(model_name, "The sea", options=OPTIONS)
    warm = client.generate(model_name, "The sea", options=OPTIONS)
    reloaded = client.generate(model_name, "The sea", options={**OPTIONS, "num_ctx": 1024})
    assert client.ps().models[0].context_length == 1024
    assert reloaded.load_duration > warm.load_duration


def test_another_number_of_threads_loads_the_model_again(client, model_name):
    """As in Ollama: it takes time of the order of another load, and the same number again finds the model loaded."""

    def load_duration(**options):
        return client.generate(model_name, "The sea", options={**OPTIONS, "num_ctx": 1024, **options}).load_duration

    client.generate(model_name, "", options={"num_ctx": 512})
    loading = load_duration()
    assert load_duration(num_thread=2) > loading / 4
    assert min(load_duration(num_thread=2) for _ in range(3)) < loading / 4


def test_keep_alive_decides_when_the_model_leaves(client, model_name):
    """Minutes, seconds and forever, as `expires_at` says; the bare text -1 is an error."""
    client.generate(model_name, "", options={"num_ctx": 512}, keep_alive=5)
    expiry = client.ps().models[0].expires_at
    for keep_alive in ("1m", 600, "2h", -1):
        client.generate(model_name, "", options={"num_ctx": 512}, keep_alive=keep_alive)
        for _ in range(10_000):  # a real Ollama notes it when it has already answered
            if (later := client.ps().models[0].expires_at) > expiry + timedelta(seconds=30):
                break
        else:
            raise AssertionError(f"keep_alive {keep_alive!r}: still leaves at {later}")
        expiry = later
    with pytest.raises(ollama.ResponseError, match="duration"):
        client.generate(model_name, "", keep_alive="-1")
