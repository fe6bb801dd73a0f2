// What the pages' examples run on. Each of them includes this file in a hidden line.

use rekindle::Model;
use rekindle::backbone::{Bert, BertConfig, Pooling};
use rekindle::checkpoint::save_pretrained;
use rekindle::data::train_wordpiece;
use rekindle::head::MaskedLm;

/// A folder, deleted when dropped, with labelled texts in `tickets.csv`, the same texts without labels in `corpus.txt`,
/// and a small BERT that has learned nothing yet in `bert`.
pub(crate) fn tiny() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let rows = tickets();
    let csv: String = rows.iter().map(|(text, label)| format!("{text},{label}\n")).collect();
    let lines: Vec<String> = rows.into_iter().map(|(text, _)| text).collect();
    std::fs::write(folder.path().join("tickets.csv"), format!("text,label\n{csv}")).expect("written");
    std::fs::write(folder.path().join("corpus.txt"), lines.join("\n")).expect("written");

    let device = rekindle::device("flex").expect("the default device");
    let tokenizer = train_wordpiece(&lines, 120).expect("a vocabulary");
    let config = config(tokenizer.vocab_size());
    let head = MaskedLm::new(config.hidden_size, config.vocab_size, 1, &device);
    let model = Model::new(Bert::new(&config, Pooling::Mean, 1, &device), head);
    save_pretrained(folder.path().join("bert"), &model, &config, "BertForMaskedLM", &tokenizer).expect("saved");
    folder
}

/// Labels of the tickets.
pub(crate) const LABELS: usize = 3;

/// Eight texts for each label.
pub(crate) fn tickets() -> Vec<(String, String)> {
    let labels: [_; LABELS] = [
        ("delivery", ["the parcel is late", "the parcel is lost"]),
        ("billing", ["you charged me twice", "the invoice is wrong"]),
        ("account", ["my password is wrong", "the login fails"]),
    ];
    let starts = ["hello", "please help", "once more", "i think"];
    let texts = labels.into_iter().flat_map(|(label, texts)| texts.map(|text| (label, text)));
    texts.flat_map(|(label, text)| starts.map(|start| (format!("{start} {text}"), label.to_string()))).collect()
}

/// Two layers of width 32.
pub(crate) fn config(vocab_size: usize) -> BertConfig {
    serde_json::from_value(serde_json::json!({
        "model_type": "bert", "vocab_size": vocab_size, "hidden_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 2, "intermediate_size": 64, "max_position_embeddings": 128, "pad_token_id": 0
    }))
    .expect("a configuration")
}
