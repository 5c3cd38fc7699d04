"""Rows hold every sequence once, and a packed loss is the loss of the sequences one by one."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.fast.shared_prefix import can_be_ragged
from training.text.formatting import encode_completion
from training.text.packing import cross_entropy, micro_batches, pack, pieces, read_documents
from training.text.policy import forbidden_token_ids, load_policy

TEXTS = ["the cat", "one two three 1234 and the cat ran", "the mat, the dog sat on the mat.", "a", "dog ran"]


@given(st.lists(st.integers(1, 40), max_size=700), st.integers(8, 64))
def test_rows_hold_every_sequence_once_and_are_not_too_long(lengths, row_tokens):
    rows = pack(lengths, row_tokens)
    assert sorted(index for row in rows for index in row) == list(range(len(lengths)))
    assert all(sum(lengths[i] for i in row) <= row_tokens or len(row) == 1 for row in rows)


@given(st.lists(st.integers(1, 40), max_size=80), st.integers(8, 200))
def test_micro_batches_hold_every_row_once_and_are_not_too_large(lengths, tokens):
    batches = micro_batches(lengths, tokens)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    assert all(max(lengths[i] for i in batch) * len(batch) <= tokens or len(batch) == 1 for batch in batches)


@pytest.mark.parametrize("row_tokens", [8, 64, 512])
@pytest.mark.parametrize("micro_batch_tokens", [1, 64, 8192])
@pytest.mark.parametrize("attends_by_itself", [False, True])
def test_cross_entropy_is_that_of_the_sequences_one_by_one(networks, row_tokens, micro_batch_tokens, attends_by_itself):
    model, tokenizer = load_policy(networks["qwen2"])
    model.double()
    assert can_be_ragged(model)
    if attends_by_itself:  # as GPT-J does: rows with a mask are used
        model._can_be_ragged = False
    forbidden = forbidden_token_ids(model, tokenizer)
    sequences = [encode_completion(tokenizer, text) for text in TEXTS]
    masks = [[i >= number for i in range(len(s))] for number, s in enumerate(sequences)]

    model.zero_grad()
    rows = pack([len(sequence) for sequence in sequences], row_tokens)
    batches = cross_entropy(model, rows, sequences, masks, forbidden, tokenizer.pad_token_id, micro_batch_tokens)
    loss = sum(batch.compute() for batch in batches)
    loss.backward()
    gradient = model.get_input_embeddings().weight.grad.clone()

    model.zero_grad()
    total, count = 0.0, 0
    for sequence, mask in zip(sequences, masks, strict=True):
        logits = model(torch.tensor([sequence])).logits[0]
        logits[:, forbidden] = -torch.inf
        for i in range(1, len(sequence)):
            if mask[i]:
                total = total - logits[i - 1].log_softmax(-1)[sequence[i]]
                count += 1
    (total / count).backward()
    # The policy's log-probabilities are float32 even of a float64 network.
    assert loss.item() == pytest.approx((total / count).item(), rel=1e-6)
    torch.testing.assert_close(gradient, model.get_input_embeddings().weight.grad, rtol=1e-4, atol=1e-7)


def test_documents_are_parted_by_blank_lines(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("one\ntwo\n\n\n\nthree\n\n", encoding="utf-8")
    assert read_documents(path) == ["one\ntwo", "three"]
    path.write_text("\n\n")
    with pytest.raises(ValueError, match="holds no text"):
        read_documents(path)
    with pytest.raises(ValueError, match="no such text file"):
        read_documents(tmp_path / "missing.txt")


def test_pieces_of_a_long_document_lose_nothing():
    ids = list(range(23))
    assert [len(piece) for piece in pieces(ids, 10)] == [10, 10, 3]
    assert sum(pieces(ids, 10), []) == ids  # noqa: RUF017
