//! ESM's tokenizer from a list of tokens, as Transformers' `models/esm/tokenization_esm.py` reads it.

use tokenizers::models::wordlevel::WordLevel;
use tokenizers::pre_tokenizers::whitespace::WhitespaceSplit;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, Model, Tokenizer};

const UNKNOWN: &str = "<unk>";
const SPECIAL: [&str; 5] = [START, "<pad>", END, UNKNOWN, "<mask>"];
/// What stands before a sequence, and what follows it: the vocabulary has no separator.
pub(crate) const START: &str = "<cls>";
pub(crate) const END: &str = "<eos>";

/// Whether a `vocab.txt` is ESM's rather than BERT's.
pub(crate) fn is_esm(vocab: &[u8]) -> bool {
    let has = |token: &str| lines(vocab).any(|line| line == token.as_bytes());
    has(START) && has(END) && !has("[CLS]")
}

fn lines(vocab: &[u8]) -> impl Iterator<Item = &[u8]> {
    vocab.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii)
}

/// Builds the tokenizer for a `vocab.txt`: one token a line, its id being the number of lines above it. A token stands for
/// itself wherever it occurs, with or without spaces around it; what is left between tokens is unknown, word by word.
pub(crate) fn from_vocab(vocab: &[u8]) -> tokenizers::Result<Tokenizer> {
    let tokens: Vec<&str> = std::str::from_utf8(vocab)?.lines().map(str::trim).collect();
    let ids = tokens.iter().enumerate().map(|(id, token)| (token.to_string(), id as u32));
    let model = WordLevel::builder().vocab(ids.collect()).unk_token(UNKNOWN.into()).build()?;
    let id = |token: &str| {
        let message = format!("the vocabulary has no {token}; ESM's tokenizer needs it on a line of its own");
        model.token_to_id(token).map(|id| (token.to_owned(), id)).ok_or(message)
    };
    id(UNKNOWN)?;
    let frame = TemplateProcessing::builder()
        .try_single(format!("{START} $A {END}"))?
        .try_pair(format!("{START} $A {END} $B {END}"))?
        .special_tokens(vec![id(START)?, id(END)?])
        .build()?;
    let (special, plain): (Vec<&str>, Vec<&str>) =
        tokens.iter().filter(|token| !token.is_empty()).partition(|token| SPECIAL.contains(token));
    let added = |tokens: Vec<&str>, special| tokens.into_iter().map(|token| AddedToken::from(token, special)).collect();
    let (special, plain): (Vec<AddedToken>, Vec<AddedToken>) = (added(special, true), added(plain, false));
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_pre_tokenizer(Some(WhitespaceSplit));
    tokenizer.with_post_processor(Some(frame));
    tokenizer.add_special_tokens(special)?;
    tokenizer.add_tokens(plain)?;
    Ok(tokenizer)
}
