//! A WordPiece vocabulary learned from text, the same on every run.
//!
//! The method is that of the `tokenizers` crate: byte-pair merges (Sennrich et al., 2016) over `##`-marked characters.
//! Its trainer numbers characters in the order of a randomly seeded hash map and breaks ties by those numbers, so that two
//! runs differ; here words and characters are sorted first, and equally frequent pairs merge in the order of their ids.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet};

use rayon::prelude::*;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::{
    NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, Result as Tokenized,
};

use super::{DataError, TextTokenizer, bert};

/// The most characters that a vocabulary covers, as in BERT's training scripts; rarer ones become `[UNK]`.
const MAX_ALPHABET: usize = 1000;

/// A pair that occurs once says nothing about the language.
const MIN_FREQUENCY: i64 = 2;

/// Longer words are `[UNK]` to a BERT tokenizer, so that learning from them would be in vain.
const MAX_WORD_CHARS: usize = 100;

/// Lines that one thread splits into words at a time.
const CHUNK: usize = 1024;

type Pair = (u32, u32);

/// Learns a lower-casing BERT WordPiece tokenizer with at most `vocab_size` tokens.
///
/// `[PAD]`, `[UNK]`, `[CLS]`, `[SEP]` and `[MASK]` have the ids 0 to 4; rows are `[CLS] A [SEP]` and
/// `[CLS] A [SEP] B [SEP]`. The vocabulary is a function of the lines and the size. It stays smaller than `vocab_size`
/// where the corpus has no more pairs that occur twice.
///
/// # Errors
/// [`DataError::NoWords`] for lines without words, [`DataError::VocabularyTooSmall`] for a size that the characters of
/// the corpus exceed.
pub fn train_wordpiece(lines: &[String], vocab_size: usize) -> Result<TextTokenizer, DataError> {
    let failed =
        |error: tokenizers::Error| DataError::Tokenizer { origin: "training".into(), reason: error.to_string() };
    let words = keep_frequent_characters(count_words(lines).map_err(failed)?);
    if words.is_empty() {
        return Err(DataError::NoWords);
    }
    let mut learner = Learner::new(&words);
    let needed = bert::SPECIAL.len() + learner.pieces.len();
    if vocab_size < needed {
        return Err(DataError::VocabularyTooSmall { vocab_size, needed });
    }
    learner.learn(vocab_size - bert::SPECIAL.len());
    let vocab: Vec<&str> = bert::SPECIAL.into_iter().chain(learner.pieces.iter().map(String::as_str)).collect();
    let tokenizer = bert::from_vocab(vocab.join("\n").as_bytes(), BertNormalizer::default()).map_err(failed)?;
    TextTokenizer::new(tokenizer, &[])
}

/// How often each word occurs after BERT's normalisation, in the order of the words.
fn count_words(lines: &[String]) -> Tokenized<BTreeMap<String, i64>> {
    let counts: Vec<HashMap<String, i64>> = lines.par_chunks(CHUNK).map(count_chunk).collect::<Tokenized<_>>()?;
    let mut total = BTreeMap::new();
    for (word, count) in counts.into_iter().flatten() {
        *total.entry(word).or_insert(0) += count;
    }
    Ok(total)
}

fn count_chunk(lines: &[String]) -> Tokenized<HashMap<String, i64>> {
    let mut counts = HashMap::new();
    for line in lines {
        let mut text = NormalizedString::from(line.as_str());
        BertNormalizer::default().normalize(&mut text)?;
        let mut words = PreTokenizedString::from(text);
        BertPreTokenizer.pre_tokenize(&mut words)?;
        for (word, _, _) in words.get_splits(OffsetReferential::Normalized, OffsetType::None) {
            if word.chars().count() <= MAX_WORD_CHARS {
                *counts.entry(word.to_owned()).or_insert(0) += 1;
            }
        }
    }
    Ok(counts)
}

/// Drops the words with a character that is not among the most frequent.
fn keep_frequent_characters(mut words: BTreeMap<String, i64>) -> BTreeMap<String, i64> {
    let mut counts: BTreeMap<char, i64> = BTreeMap::new();
    for (word, count) in &words {
        word.chars().for_each(|character| *counts.entry(character).or_insert(0) += count);
    }
    let mut ranked: Vec<(char, i64)> = counts.into_iter().collect();
    ranked.sort_by_key(|(character, count)| (Reverse(*count), *character));
    let rare: HashSet<char> = ranked.into_iter().skip(MAX_ALPHABET).map(|(character, _)| character).collect();
    words.retain(|word, _| !word.chars().any(|character| rare.contains(&character)));
    words
}

/// Words as lists of pieces, of which the most frequent pair is merged again and again.
struct Learner {
    pieces: Vec<String>,
    ids: HashMap<String, u32>,
    words: Vec<(Vec<u32>, i64)>,
    counts: HashMap<Pair, i64>,
    /// The words in which a pair has been seen; it may have gone from some of them.
    places: HashMap<Pair, HashSet<usize>>,
    /// Counts with their pairs, most frequent first, then by ids; entries whose count has changed are skipped.
    queue: BinaryHeap<(i64, Reverse<Pair>)>,
}

impl Learner {
    /// Starts from single characters: every character by itself, and with `##` where it continues a word.
    fn new(words: &BTreeMap<String, i64>) -> Self {
        let split = |word: &str| -> Vec<String> {
            let name = |(place, character)| if place == 0 { format!("{character}") } else { format!("##{character}") };
            word.chars().enumerate().map(name).collect()
        };
        let single: BTreeSet<String> = words.keys().flat_map(|word| word.chars()).map(String::from).collect();
        let continuing: BTreeSet<String> = words.keys().flat_map(|word| split(word).into_iter().skip(1)).collect();
        let mut learner = Self {
            pieces: Vec::new(),
            ids: HashMap::new(),
            words: Vec::new(),
            counts: HashMap::new(),
            places: HashMap::new(),
            queue: BinaryHeap::new(),
        };
        for piece in single.into_iter().chain(continuing) {
            learner.id(piece);
        }
        for (place, (word, count)) in words.iter().enumerate() {
            let pieces: Vec<u32> = split(word).into_iter().map(|piece| learner.id(piece)).collect();
            learner.tally(place, &pieces, *count);
            learner.words.push((pieces, *count));
        }
        learner.queue = learner.counts.iter().map(|(pair, count)| (*count, Reverse(*pair))).collect();
        learner
    }

    /// Merges until there are `size` pieces or no pair is left that occurs often enough.
    fn learn(&mut self, size: usize) {
        while self.pieces.len() < size {
            let Some((count, Reverse(pair))) = self.queue.pop() else { return };
            if self.counts.get(&pair) != Some(&count) {
                continue;
            }
            if count < MIN_FREQUENCY {
                return;
            }
            self.merge(pair);
        }
    }

    fn merge(&mut self, pair: Pair) {
        let joined = joined(&self.pieces[pair.0 as usize], &self.pieces[pair.1 as usize]);
        let merged = self.id(joined);
        let mut changed = BTreeSet::new();
        for place in self.places.remove(&pair).unwrap_or_default() {
            let (old, count) = std::mem::take(&mut self.words[place]);
            let new = replace(&old, pair, merged);
            self.tally(place, &old, -count);
            self.tally(place, &new, count);
            changed.extend(pairs(&old).chain(pairs(&new)));
            self.words[place] = (new, count);
        }
        for pair in changed {
            match self.counts.get(&pair) {
                Some(count) if *count > 0 => self.queue.push((*count, Reverse(pair))),
                _ => drop((self.counts.remove(&pair), self.places.remove(&pair))),
            }
        }
    }

    /// Adds a word's pairs, or takes them away with a negative count.
    fn tally(&mut self, place: usize, pieces: &[u32], count: i64) {
        for pair in pairs(pieces) {
            *self.counts.entry(pair).or_insert(0) += count;
            self.places.entry(pair).or_default().insert(place);
        }
    }

    /// The id of a piece, which is new where it has none.
    fn id(&mut self, piece: String) -> u32 {
        if let Some(id) = self.ids.get(&piece) {
            return *id;
        }
        let id = self.pieces.len() as u32;
        self.pieces.push(piece.clone());
        self.ids.insert(piece, id);
        id
    }
}

fn joined(first: &str, second: &str) -> String {
    format!("{first}{}", second.strip_prefix("##").unwrap_or(second))
}

fn pairs(pieces: &[u32]) -> impl Iterator<Item = Pair> + '_ {
    pieces.windows(2).map(|pair| (pair[0], pair[1]))
}

/// The pieces with each occurrence of `pair`, from the left, replaced by `merged`.
fn replace(pieces: &[u32], pair: Pair, merged: u32) -> Vec<u32> {
    let mut replaced = Vec::with_capacity(pieces.len());
    let mut place = 0;
    while place < pieces.len() {
        let matches = pieces[place] == pair.0 && pieces.get(place + 1) == Some(&pair.1);
        replaced.push(if matches { merged } else { pieces[place] });
        place += if matches { 2 } else { 1 };
    }
    replaced
}

#[cfg(test)]
mod tests {
    use super::*;

    fn corpus() -> Vec<String> {
        let lines = ["The cat sat.", "the cats sat on the mat", "Café, 中国!", "that hat, that cat"];
        lines.into_iter().map(str::to_owned).collect()
    }

    fn tokens(tokenizer: &TextTokenizer) -> Vec<String> {
        (0..tokenizer.vocab_size() as u32).map(|id| tokenizer.token(id).unwrap()).collect()
    }

    /// Merges by counting everything anew each time: slow, and plainly right.
    fn naive(words: &BTreeMap<String, i64>, size: usize) -> Vec<String> {
        let mut learner = Learner::new(words);
        while learner.pieces.len() < size {
            let mut counts: BTreeMap<Pair, i64> = BTreeMap::new();
            for (word, count) in &learner.words {
                pairs(word).for_each(|pair| *counts.entry(pair).or_insert(0) += count);
            }
            let best = counts.into_iter().max_by_key(|(pair, count)| (*count, Reverse(*pair)));
            let Some((pair, _)) = best.filter(|(_, count)| *count >= MIN_FREQUENCY) else { break };
            let [a, b] = [pair.0, pair.1].map(|id| learner.pieces[id as usize].clone());
            let merged = learner.id(joined(&a, &b));
            learner.words.iter_mut().for_each(|(word, _)| *word = replace(word, pair, merged));
        }
        learner.pieces
    }

    #[test]
    fn the_vocabulary_is_the_same_in_every_process() {
        // Written down once; hash maps are seeded anew in each process, so a dependence on them would show here.
        let expected = "[PAD] [UNK] [CLS] [SEP] [MASK] ! , . a c e f h m n o s t 中 国 ##a ##e ##f ##h ##n ##s ##t ##at \
                        th cat the sat that";
        assert_eq!(tokens(&train_wordpiece(&corpus(), 500).unwrap()).join(" "), expected);
    }

    #[test]
    fn texts_are_spelt_with_what_was_learned() {
        let tokenizer = train_wordpiece(&corpus(), 500).unwrap();
        let spelt = |text: &str| -> Vec<String> {
            let row = tokenizer.encode(&[text], 64).unwrap().rows.remove(0);
            row.ids.into_iter().map(|id| tokenizer.token(id).unwrap()).collect()
        };
        assert_eq!(spelt("THE cats, zoo"), ["[CLS]", "the", "cat", "##s", ",", "[UNK]", "[SEP]"]);
        let pair = tokenizer.encode_pairs(&[("cat", "hat")], 64).unwrap().rows.remove(0);
        assert_eq!(pair.type_ids, [0, 0, 0, 1, 1, 1]);
        let ids = [tokenizer.pad_id(), tokenizer.unk_id(), tokenizer.cls_id(), tokenizer.sep_id(), tokenizer.mask_id()];
        assert_eq!(ids, [Some(0), Some(1), Some(2), Some(3), Some(4)]);
    }

    #[test]
    fn counting_by_changes_equals_counting_anew() {
        let lines: Vec<String> = (0..400_u64).map(|i| format!("{:b}{:o} {:x}", i * i, i, i * 7919)).collect();
        let words = keep_frequent_characters(count_words(&lines).unwrap());
        let mut learner = Learner::new(&words);
        learner.learn(600);
        assert!(learner.pieces.len() > 200);
        assert_eq!(learner.pieces, naive(&words, 600));
    }

    #[test]
    fn sizes_are_kept_and_small_ones_refused() {
        assert_eq!(train_wordpiece(&corpus(), 29).unwrap().vocab_size(), 29);
        let error = train_wordpiece(&corpus(), 20).unwrap_err().to_string();
        assert_eq!(error, "a vocabulary of 20 tokens is too small; the characters of this corpus alone need 27");
        assert!(matches!(train_wordpiece(&[" ".into()], 100), Err(DataError::NoWords)));
        assert!(matches!(train_wordpiece(&[], 100), Err(DataError::NoWords)));
    }
}
