#!/usr/bin/env python3
"""python3 tests/serve/openai_test.py PROGRAM: qnt-serve with OpenAI's own client (PyPI: openai), which is not told of any difference."""

import sys

from client import Server, Skipped, run_checks

program = sys.argv[1]


def openai_client():
    try:
        import openai
    except ImportError:
        raise Skipped("the package openai is not installed")
    with Server(program) as s:
        client = openai.OpenAI(base_url=f"http://127.0.0.1:{s.port}/v1", api_key="none", max_retries=0)
        names = [m.id for m in client.models.list()]
        assert names == ["qnt-gpt2-5m", "qnt-gpt2-5m-baseline"], names
        assert client.models.retrieve(names[0]).id == names[0]
        request = {"prompt": "The old house", "max_tokens": 12, "seed": 5}
        for name, path in zip(names, ("/generate", "/generate/baseline")):
            whole = client.completions.create(model=name, **request)
            native = s.request("POST", path, {"prompt": "The old house", "max_new_tokens": 12, "seed": 5, "temperature": 1, "top_k": 0})[1]
            assert whole.choices[0].text == native["completion"], (whole, native)
            assert whole.model == name and whole.object == "text_completion" and whole.choices[0].finish_reason == "length"
            assert whole.usage.completion_tokens == 12 and whole.usage.total_tokens == 12 + whole.usage.prompt_tokens == 12 + native["prompt_tokens"]
            parts = list(client.completions.create(model=name, stream=True, stream_options={"include_usage": True}, **request))
            assert "".join(p.choices[0].text for p in parts if p.choices) == native["completion"]
            assert parts[-2].choices[0].finish_reason == "length" and parts[-1].usage.completion_tokens == 12 and len({p.id for p in parts}) == 1
        several = client.completions.create(model=names[0], prompt=["The old house", "Water is"], n=2, max_tokens=5, seed=5, echo=True)
        assert [c.index for c in several.choices] == [0, 1, 2, 3] and several.choices[3].text.startswith("Water is")
        assert several.choices[0].text != several.choices[1].text
        tokens = client.completions.create(model=names[0], prompt=[464, 1468], max_tokens=2, user="somebody", logit_bias={}, temperature=0, stop=["\n"])
        assert tokens.usage.prompt_tokens == 2
        for status, error, change in [(404, openai.NotFoundError, {"model": "gpt-4"}), (400, openai.BadRequestError, {"temperature": -1}),
                                      (400, openai.BadRequestError, {"logprobs": 1})]:
            try:
                client.completions.create(**{"model": names[0], **request, **change})
                raise AssertionError(f"{change} was accepted")
            except error as e:
                assert e.status_code == status and list(change)[0] in str(e.body["message"]) and e.body["param"] == list(change)[0], e.body
        assert s.stop()[0] == 0
        return f"openai {openai.__version__}: models, completions whole and streamed, several prompts and choices, errors"


raise SystemExit(run_checks([openai_client]))
