"""`langchain-ollama`, unchanged, against the server."""

import asyncio

import ollama
import pytest

from tests.contract.conftest import OPTIONS

langchain_ollama = pytest.importorskip("langchain_ollama", reason="langchain-ollama is not installed")


@pytest.fixture
def settings(server_url, model_name):
    return {
        "model": model_name,
        "base_url": server_url,
        "client_kwargs": {"trust_env": False},
        "num_ctx": OPTIONS["num_ctx"],
        "num_predict": OPTIONS["num_predict"],
        "seed": OPTIONS["seed"],
        "temperature": OPTIONS["temperature"],
    }


def closed(model):
    """Closes the connection that langchain-ollama itself leaves to the garbage collector."""
    model._client._client.close()


def test_chat_model(settings):
    """Invoking gives text and usage; `validate_model_on_init` finds the model in the list."""
    chat = langchain_ollama.ChatOllama(**settings, validate_model_on_init=True)
    answer = chat.invoke([("system", "Be short."), ("human", "Say a word.")])
    closed(chat)
    assert answer.content
    assert answer.usage_metadata["output_tokens"] > 0
    assert answer.response_metadata["done_reason"] in ("stop", "length")


def test_chat_model_streamed(settings):
    """Streaming gives pieces that add up."""
    chat = langchain_ollama.ChatOllama(**settings)
    pieces = list(chat.stream("Count to ten."))
    closed(chat)
    assert len(pieces) > 1
    assert "".join(piece.content for piece in pieces)


def test_chat_model_async(settings):
    """The asynchronous way works as well, two at once."""
    chat = langchain_ollama.ChatOllama(**settings)

    async def both():
        try:
            return await asyncio.gather(chat.ainvoke("Say a word."), chat.ainvoke("Say another."))
        finally:
            await chat._async_client._client.aclose()

    answers = asyncio.run(both())
    closed(chat)
    assert all(answer.content for answer in answers)


def test_completion_model(settings):
    """The plain completion model too."""
    model = langchain_ollama.OllamaLLM(**settings)
    answer = model.invoke("The capital of France is")
    closed(model)
    assert answer


@pytest.mark.parametrize("kind", ["ChatOllama", "OllamaLLM"])
def test_an_unknown_model(settings, kind):
    """The server's own words reach the user, with status 404."""
    model = getattr(langchain_ollama, kind)(**{**settings, "model": "no-such-model"})
    with pytest.raises(ollama.ResponseError, match="model 'no-such-model' not found") as caught:
        model.invoke("Say a word.")
    closed(model)
    assert caught.value.status_code == 404
