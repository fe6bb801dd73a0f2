//! Texts through a `tokenizer.json`, beside what the `tokenizers` package of Python makes of them.

use super::Result;
use super::findings::{Findings, Row};
use rekindle::data::{TextTokenizer, TokenRow};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::path::Path;

/// More tokens than any text of a folder has.
const WHOLE: usize = 1 << 20;

/// One text or pair and its tokens.
#[derive(Debug, Deserialize)]
struct Encoded {
    #[serde(default)]
    text: String,
    #[serde(default)]
    pair: Option<String>,
    ids: Vec<u32>,
    tokens: Vec<String>,
    type_ids: Vec<u32>,
    special_tokens_mask: Vec<u8>,
    word_ids: Vec<Option<u32>>,
}

/// A text or pair that is cut.
#[derive(Debug, Deserialize)]
struct Cut {
    text: String,
    pair: Option<String>,
    truncation: How,
    encoding: Encoded,
}

#[derive(Debug, Deserialize)]
struct How {
    max_length: usize,
    #[serde(default)]
    strategy: Option<String>,
    #[serde(default)]
    direction: Option<String>,
}

/// A sentence in words.
#[derive(Debug, Deserialize)]
struct Words {
    words: Vec<String>,
    ids: Vec<u32>,
    word_ids: Vec<Option<u32>>,
}

pub(crate) fn check(folder: &Path) -> Result<Findings> {
    let tokenizer = TextTokenizer::from_file(folder.join("tokenizer.json"))?;
    let mut findings = Findings::new(folder, "tokenizer.json");
    for name in ["single", "pair"] {
        if let Some(cases) = read::<Vec<Encoded>>(&folder.join(format!("{name}.json")))? {
            findings.extend(compare(&tokenizer, name, &cases)?);
        }
    }
    if let Some(cases) = read::<Vec<Cut>>(&folder.join("truncation.json"))? {
        findings.extend([cuts(&tokenizer, &cases)?]);
    }
    if let Some(case) = read::<Words>(&folder.join("word_labels.json"))? {
        let row = tokenizer.encode_words(&[&case.words], WHOLE)?.rows.remove(0);
        let other = usize::from(row.ids != case.ids || row.word_ids != case.word_ids);
        findings.extend([Row::count("sentences in words with other tokens or words", other, "of 1".into())]);
    }
    Ok(findings)
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match path.is_file() {
        true => Ok(Some(serde_json::from_str(&std::fs::read_to_string(path)?)?)),
        false => Ok(None),
    }
}

fn encode(tokenizer: &TextTokenizer, text: &str, pair: Option<&str>, limit: usize) -> Result<TokenRow> {
    let mut encodings = match pair {
        None => tokenizer.encode(&[text], limit)?,
        Some(pair) => tokenizer.encode_pairs(&[(text, pair)], limit)?,
    };
    Ok(encodings.rows.remove(0))
}

fn compare(tokenizer: &TextTokenizer, name: &str, cases: &[Encoded]) -> Result<Vec<Row>> {
    let mut other = [0; 5];
    for case in cases {
        let row = encode(tokenizer, &case.text, case.pair.as_deref(), WHOLE)?;
        // Some models show what they cannot spell as it stands in the text, and added tokens with the spaces around them.
        let same_token = |(id, token): (&u32, &String)| {
            let known = tokenizer.token(*id);
            tokenizer.unk_id() == Some(*id) || known.is_some_and(|known| known.trim() == token.trim())
        };
        let special: Vec<u8> = row.special.iter().map(|special| u8::from(*special)).collect();
        let differ = [
            row.ids != case.ids,
            row.ids.len() != case.tokens.len() || !row.ids.iter().zip(&case.tokens).all(same_token),
            row.type_ids != case.type_ids,
            special != case.special_tokens_mask,
            row.word_ids != case.word_ids,
        ];
        other.iter_mut().zip(differ).for_each(|(count, differs)| *count += usize::from(differs));
    }
    let rows = ["token ids", "tokens", "segments", "special tokens", "words"].iter().zip(other);
    let note = || format!("of {} in {name}.json", cases.len());
    Ok(rows.map(|(what, count)| Row::count(format!("{name}: texts with other {what}"), count, note())).collect())
}

/// Texts that are cut the way this crate cuts: at the end, the longer of a pair first.
fn cuts(tokenizer: &TextTokenizer, cases: &[Cut]) -> Result<Row> {
    let at_end = |how: &How| how.direction.as_deref().is_none_or(|direction| direction.eq_ignore_ascii_case("right"));
    let longest = |how: &How| how.strategy.as_deref().is_none_or(|strategy| strategy == "longest_first");
    let ours = |case: &&Cut| at_end(&case.truncation) && (case.pair.is_none() || longest(&case.truncation));
    let (mut compared, mut other) = (0, 0);
    for case in cases.iter().filter(ours) {
        let row = encode(tokenizer, &case.text, case.pair.as_deref(), case.truncation.max_length)?;
        compared += 1;
        other += usize::from(row.ids != case.encoding.ids || row.type_ids != case.encoding.type_ids);
    }
    let note = format!("of {compared}; {} are cut in ways that are not offered here", cases.len() - compared);
    Ok(Row::count("truncated texts with other tokens", other, note))
}
