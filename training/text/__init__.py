"""From text to tokens and back: the chat template and its masks, packing, policies, sampling."""
