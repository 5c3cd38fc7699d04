"""The documents of work.json in packed rows, forward and backward by transformers and torch, and nothing around it."""

import torch
from runners.answer import answer, work
from transformers import AutoModelForCausalLM

folder, given = work()
torch.set_num_threads(1)
model = AutoModelForCausalLM.from_pretrained(folder / "network", dtype=torch.float32)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
rows: list[list[list[int]]] = []
for document in sorted(given["documents"], key=len, reverse=True):
    for row in rows:
        if sum(map(len, row)) + len(document) <= given["row_tokens"]:
            row.append(document)
            break
    else:
        rows.append([document])


def run() -> dict[str, float]:
    """One epoch, a row at a time."""
    for step in range(given["steps"]):
        of_step = rows[step :: given["steps"]]
        for row in of_step:
            ids = torch.tensor([[token for document in row for token in document]])
            positions = torch.tensor([[place for document in row for place in range(len(document))]])
            labels = torch.where(positions == 0, -100, ids)
            loss = model(input_ids=ids, position_ids=positions, labels=labels, use_cache=False).loss
            (loss / len(of_step)).backward()
        optimizer.step()
        optimizer.zero_grad()
    return {"steps": given["steps"], "work": sum(map(len, given["documents"]))}


answer(run)
