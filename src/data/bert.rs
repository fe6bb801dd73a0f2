//! A BERT WordPiece tokenizer from a list of tokens.

use serde_json::Value;
use tokenizers::decoders::wordpiece::WordPiece as WordPieceDecoder;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, Model, Tokenizer};

/// The special tokens of a BERT vocabulary, in the order in which a trained vocabulary starts.
pub(crate) const SPECIAL: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];

/// How a BERT tokenizer normalises text, from the fields of `tokenizer_config.json`; absent fields have BERT's defaults.
pub(crate) fn normalizer(config: &Value) -> BertNormalizer {
    let flag = |name: &str| config.get(name).and_then(Value::as_bool);
    BertNormalizer::new(
        true,
        flag("tokenize_chinese_chars").unwrap_or(true),
        flag("strip_accents"),
        flag("do_lower_case").unwrap_or(true),
    )
}

/// Builds the tokenizer for a `vocab.txt`: one token a line, its id being the number of lines above it.
pub(crate) fn from_vocab(vocab: &[u8], normalizer: BertNormalizer) -> tokenizers::Result<Tokenizer> {
    let model = WordPiece::builder().vocab(WordPiece::read_bytes(vocab)?).build()?;
    let id = |token: &str| {
        let message = format!("the vocabulary has no {token}; BERT tokenizers need it on a line of its own");
        model.token_to_id(token).map(|id| (token.to_owned(), id)).ok_or(message)
    };
    id("[UNK]")?;
    let frame = TemplateProcessing::builder()
        .try_single("[CLS] $A [SEP]")?
        .try_pair("[CLS] $A [SEP] $B:1 [SEP]:1")?
        .special_tokens(vec![id("[CLS]")?, id("[SEP]")?])
        .build()?;
    let present: Vec<AddedToken> = SPECIAL
        .into_iter()
        .filter(|token| model.token_to_id(token).is_some())
        .map(|token| AddedToken::from(token, true))
        .collect();
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_normalizer(Some(normalizer))?;
    tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
    tokenizer.with_post_processor(Some(frame));
    tokenizer.with_decoder(Some(WordPieceDecoder::default()));
    tokenizer.add_special_tokens(present)?;
    Ok(tokenizer)
}
