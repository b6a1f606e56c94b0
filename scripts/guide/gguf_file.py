"""Writes the trained network as a GGUF file that llama.cpp loads, and reads it back to train on."""

from pathlib import Path

import gguf
import numpy as np
import torch

from guide.network import Network
from guide.vocabulary import CHAT_TEMPLATE, CONTROL_TOKENS, END_OF_TEXT, IM_END, PRE_TOKENIZER, Vocabulary

# Half the file of 16-bit floats, and as good in the exam. Over those llama.cpp multiplies one row otherwise than
# several, and a seed would say something else in company (`tests/end_to_end/test_seeds.py`).
_MATRICES = gguf.GGMLQuantizationType.Q8_0


def write(network: Network, vocabulary: Vocabulary, path: Path) -> None:
    """Write the file beside its place, then move it there: a reader never sees half of it."""
    partial = path.with_suffix(".partial")
    writer = gguf.GGUFWriter(str(partial), "llama")
    _write_description(writer, network)
    _write_tokenizer(writer, vocabulary)
    for name, parameter in network.named_parameters():
        values = parameter.detach().float().numpy()
        if values.ndim == 2:
            writer.add_tensor(name, gguf.quantize(values, _MATRICES), raw_dtype=_MATRICES)
        else:
            writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    partial.replace(path)


def read(network: Network, vocabulary: Vocabulary, path: Path) -> None:
    """Fill the network with the weights of a file that `write` made of the same shape.

    Where the file's text was another, tokens that both have keep what was learned of them; the others stay as they are.
    """
    reader = gguf.GGUFReader(path)
    stored = {
        tensor.name: torch.from_numpy(gguf.dequantize(np.array(tensor.data), tensor.tensor_type))
        for tensor in reader.tensors
    }
    rows = {token: row for row, token in enumerate(reader.fields["tokenizer.ggml.tokens"].contents())}
    known = [at for at, token in enumerate(vocabulary.tokens) if token in rows]
    for name, parameter in network.named_parameters():
        if name == "token_embd.weight":
            parameter.data[known] = stored[name][[rows[vocabulary.tokens[at]] for at in known]]
        else:
            parameter.data.copy_(stored[name].view_as(parameter))


def _write_description(writer: gguf.GGUFWriter, network: Network) -> None:
    shape = network.shape
    writer.add_name("guide")
    writer.add_description(
        "The built-in guide of edged: answers questions about the appliance in English and Chinese, and nothing else."
    )
    writer.add_license("MIT")
    writer.add_languages(["en", "zh"])
    # It has one right answer to everything: unless a caller says otherwise, the likeliest token is taken.
    writer.add_float32("general.sampling.temp", 0.0)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_context_length(shape.context_tokens)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_dimension_count(shape.head_width)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_layer_norm_rms_eps(shape.norm_epsilon)
    writer.add_vocab_size(shape.vocabulary)


def _write_tokenizer(writer: gguf.GGUFWriter, vocabulary: Vocabulary) -> None:
    control = set(CONTROL_TOKENS)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(PRE_TOKENIZER)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(
        [gguf.TokenType.CONTROL if token in control else gguf.TokenType.NORMAL for token in vocabulary.tokens]
    )
    writer.add_token_merges([f"{left} {right}" for left, right in vocabulary.merges])
    writer.add_bos_token_id(vocabulary.control(END_OF_TEXT))
    writer.add_eos_token_id(vocabulary.control(IM_END))
    writer.add_eot_token_id(vocabulary.control(IM_END))
    writer.add_pad_token_id(vocabulary.control(END_OF_TEXT))
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)
