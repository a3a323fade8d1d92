//! The model's files, as Sentence Transformers lays them out.

use std::io;

use serde_json::{Map, Value, json};

use super::{
    CONTEXT, DIMENSIONS, END, EPSILON, HEAD, HEADS, INNER, KEY_HEADS, LAYERS, Layer, Matrix, THETA, TinyEmbedder,
    VOCABULARY,
};

const END_TEXT: &str = "<|endoftext|>";

/// A name, a shape, and numbers.
type Tensor<'a> = (String, Vec<usize>, &'a [f32]);

impl TinyEmbedder {
    pub(super) fn write(&self) -> io::Result<()> {
        std::fs::create_dir_all(self.folder.join("1_Pooling"))?;
        for (path, content) in [
            ("config.json", config()),
            ("tokenizer.json", tokenizer()),
            ("modules.json", modules()),
            ("1_Pooling/config.json", pooling()),
        ] {
            std::fs::write(self.folder.join(path), content.to_string())?;
        }
        std::fs::write(self.folder.join("model.safetensors"), self.safetensors())
    }

    /// The safetensors format: the length of a JSON header, the header, and the numbers of all tensors.
    fn safetensors(&self) -> Vec<u8> {
        let (mut header, mut data) = (Map::new(), Vec::new());
        for (name, shape, numbers) in self.tensors() {
            let begin = data.len();
            data.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
            header.insert(name, json!({"dtype": "F32", "shape": shape, "data_offsets": [begin, data.len()]}));
        }
        let mut header = Value::Object(header).to_string();
        // So that the numbers lie where a processor likes them.
        header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat()
    }

    fn tensors(&self) -> Vec<Tensor<'_>> {
        let mut all = vec![of_matrix("embed_tokens", &self.tokens), of_norm("norm", &self.last_norm)];
        for (index, layer) in self.layers.iter().enumerate() {
            let named = layer_tensors(layer);
            all.extend(
                named.into_iter().map(|(name, shape, numbers)| (format!("layers.{index}.{name}"), shape, numbers)),
            );
        }
        all
    }
}

fn layer_tensors(layer: &Layer) -> [Tensor<'_>; 11] {
    [
        of_norm("input_layernorm", &layer.before_attention),
        of_matrix("self_attn.q_proj", &layer.query),
        of_matrix("self_attn.k_proj", &layer.key),
        of_matrix("self_attn.v_proj", &layer.value),
        of_matrix("self_attn.o_proj", &layer.out),
        of_norm("self_attn.q_norm", &layer.query_norm),
        of_norm("self_attn.k_norm", &layer.key_norm),
        of_norm("post_attention_layernorm", &layer.before_inner),
        of_matrix("mlp.gate_proj", &layer.gate),
        of_matrix("mlp.up_proj", &layer.up),
        of_matrix("mlp.down_proj", &layer.down),
    ]
}

fn of_matrix<'a>(name: &str, matrix: &'a Matrix) -> Tensor<'a> {
    let rows = matrix.numbers.len() / matrix.columns;
    (format!("{name}.weight"), vec![rows, matrix.columns], &matrix.numbers)
}

fn of_norm<'a>(name: &str, numbers: &'a [f32]) -> Tensor<'a> {
    (format!("{name}.weight"), vec![numbers.len()], numbers)
}

fn config() -> Value {
    json!({
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "vocab_size": VOCABULARY,
        "hidden_size": DIMENSIONS,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KEY_HEADS,
        "head_dim": HEAD,
        "hidden_act": "silu",
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": EPSILON,
        "rope_theta": THETA,
        "tie_word_embeddings": true,
        "sliding_window": null,
        "use_sliding_window": false,
        "max_window_layers": LAYERS,
    })
}

/// A token for each byte, written as GPT-2 writes bytes: those that can be seen as themselves, the others from U+0100 on.
fn tokenizer() -> Value {
    let is_seen = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let mut hidden = (0x100..).filter_map(char::from_u32);
    let mut vocabulary = Map::new();
    for byte in 0..=u8::MAX {
        let letter = if is_seen(byte) { char::from(byte) } else { hidden.next().expect("there are enough") };
        vocabulary.insert(letter.to_string(), byte.into());
    }
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false});
    let end = json!({"SpecialToken": {"id": END_TEXT, "type_id": 0}});
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [{"id": END, "content": END_TEXT, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true}],
        "normalizer": null,
        "pre_tokenizer": byte_level,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"Sequence": {"id": "A", "type_id": 0}}, end],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}, end],
            "special_tokens": {END_TEXT: {"id": END_TEXT, "ids": [END], "tokens": [END_TEXT]}},
        },
        "decoder": byte_level,
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocabulary, "merges": []},
    })
}

fn modules() -> Value {
    json!([
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
    ])
}

fn pooling() -> Value {
    json!({
        "word_embedding_dimension": DIMENSIONS,
        "pooling_mode_cls_token": false,
        "pooling_mode_mean_tokens": false,
        "pooling_mode_max_tokens": false,
        "pooling_mode_mean_sqrt_len_tokens": false,
        "pooling_mode_weightedmean_tokens": false,
        "pooling_mode_lasttoken": true,
        "include_prompt": true,
    })
}
