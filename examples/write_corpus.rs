//! Expands a phrase grammar into distinct lines: unlabelled text for a small masked language model to be pretrained on.
//!
//! The grammar's format is written in the head comment of `assets/intents/grammar.txt`. The same grammar, seed and
//! count always give the same file.

use std::collections::{HashMap, HashSet};
use std::iter::Peekable;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::Chars;
use std::{fs, io};

use clap::Parser;
use rand::Rng;
use rekindle::checkpoint::{CheckpointError, write_file};
use rekindle::random::stream;

/// The rule that every line is expanded from.
const START: &str = "line";
/// Draws for one line before the grammar counts as exhausted; far more than a rich grammar ever needs.
const TRIES: u64 = 1000;

/// Writes distinct lines of a phrase grammar to a text file.
#[derive(Debug, Parser)]
struct Args {
    /// The grammar to expand.
    #[arg(long, default_value = "assets/intents/grammar.txt")]
    grammar: PathBuf,
    /// The file to write, one line of text a line.
    #[arg(long, default_value = "assets/intents/unlabelled.txt")]
    out: PathBuf,
    /// How many distinct lines to write.
    #[arg(long, default_value_t = 9000)]
    lines: u64,
    /// The seed of all draws.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(summary) => {
            println!("{summary}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<String, Error> {
    let text = fs::read_to_string(&args.grammar).map_err(|e| Error::Read(args.grammar.clone(), e))?;
    let grammar = Grammar::parse(&text).map_err(|fault| Error::Grammar { file: args.grammar.clone(), fault })?;
    let lines = grammar.lines(args.lines, args.seed)?;
    write_file(&args.out, |file| file.write_all((lines.join("\n") + "\n").as_bytes()))?;
    Ok(summary(&args.out, &lines))
}

fn summary(out: &Path, lines: &[String]) -> String {
    let text = lines.join(" ").to_lowercase();
    let words: Vec<&str> = text.split(|c: char| !c.is_alphanumeric() && c != '\'').filter(|w| !w.is_empty()).collect();
    let distinct = words.iter().collect::<HashSet<_>>().len();
    format!("{}: {} lines, {} words, {distinct} distinct words", out.display(), lines.len(), words.len())
}

/// Why no corpus was written.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot read {0:?}: {1}")]
    Read(PathBuf, io::Error),
    #[error(transparent)]
    Write(#[from] CheckpointError),
    #[error("{}:{fault}", file.display())]
    Grammar { file: PathBuf, fault: Fault },
    #[error(
        "line {line} of {asked} found nothing new in {TRIES} draws; ask for fewer lines or write more alternatives"
    )]
    Exhausted { line: u64, asked: u64 },
}

/// What is wrong with a grammar; each message begins with the line number.
#[derive(Debug, PartialEq, thiserror::Error)]
enum Fault {
    #[error("{line}: `{text}` belongs to no rule; write `name:` at the start of a line, and indent its alternatives")]
    NoRule { line: usize, text: String },
    #[error("{line}: rule `{name}` is defined a second time; give it another name")]
    Twice { line: usize, name: String },
    #[error("{line}: rule `{name}` has no alternatives; add an indented line under it")]
    NoAlternatives { line: usize, name: String },
    #[error("{line}: `{bracket}` is never closed on this line")]
    Unclosed { line: usize, bracket: char },
    #[error("{line}: `{mark}` stands outside of brackets; remove it or open a bracket before it")]
    Stray { line: usize, mark: char },
    #[error("{line}: unknown rule `{name}`; define it or mend its spelling")]
    Unknown { line: usize, name: String },
    #[error("{line}: endless recursion {chain}; a rule may not lead back to itself")]
    Recursion { line: usize, chain: String },
    #[error("{line}: rule `{name}` is not used by anything that `{START}` leads to; use it or remove it")]
    Unused { line: usize, name: String },
}

/// A piece of an alternative.
#[derive(Debug, PartialEq)]
enum Part {
    Text(String),
    Rule(String),
    Choice(Vec<Vec<Part>>),
}

#[derive(Debug)]
struct Alternative {
    line: usize,
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Rule {
    line: usize,
    alternatives: Vec<Alternative>,
}

/// A checked grammar: every name is known, every rule is used, every expansion ends.
#[derive(Debug)]
struct Grammar {
    rules: HashMap<String, Rule>,
}

impl Grammar {
    fn parse(text: &str) -> Result<Self, Fault> {
        let mut rules: HashMap<String, Rule> = HashMap::new();
        let mut current = None;
        for (line, raw) in (1..).zip(text.lines()) {
            let content = raw.trim();
            if content.is_empty() || content.starts_with('#') {
                continue;
            }
            if raw.starts_with(char::is_whitespace) {
                let rule = current.as_ref().and_then(|name| rules.get_mut(name));
                let rule = rule.ok_or_else(|| Fault::NoRule { line, text: content.into() })?;
                rule.alternatives.push(Alternative { line, parts: alternative(content, line)? });
            } else {
                let name = content.strip_suffix(':').ok_or_else(|| Fault::NoRule { line, text: content.into() })?;
                if rules.insert(name.into(), Rule { line, alternatives: Vec::new() }).is_some() {
                    return Err(Fault::Twice { line, name: name.into() });
                }
                current = Some(name.to_string());
            }
        }
        let grammar = Self { rules };
        grammar.check()?;
        Ok(grammar)
    }

    fn check(&self) -> Result<(), Fault> {
        if let Some((name, line)) = self.first(|_, rule| rule.alternatives.is_empty()) {
            return Err(Fault::NoAlternatives { line, name });
        }
        let mut done = HashSet::new();
        self.visit(START, 1, &mut Vec::new(), &mut done)?;
        match self.first(|name, _| !done.contains(name)) {
            Some((name, line)) => Err(Fault::Unused { line, name }),
            None => Ok(()),
        }
    }

    /// The topmost rule that a test holds for, so that the same fault is reported on every run.
    fn first(&self, test: impl Fn(&str, &Rule) -> bool) -> Option<(String, usize)> {
        let found = self.rules.iter().filter(|(name, rule)| test(name, rule));
        found.min_by_key(|(_, rule)| rule.line).map(|(name, rule)| (name.clone(), rule.line))
    }

    /// Depth-first walk; `path` holds the rules being expanded, `done` those known to end.
    fn visit<'a>(
        &'a self,
        name: &'a str,
        line: usize,
        path: &mut Vec<&'a str>,
        done: &mut HashSet<&'a str>,
    ) -> Result<(), Fault> {
        if let Some(start) = path.iter().position(|seen| *seen == name) {
            let chain = [&path[start..], &[name]].concat().join(" -> ");
            return Err(Fault::Recursion { line, chain });
        }
        if done.contains(name) {
            return Ok(());
        }
        let rule = self.rules.get(name).ok_or_else(|| Fault::Unknown { line, name: name.into() })?;
        path.push(name);
        for alternative in &rule.alternatives {
            for next in references(&alternative.parts) {
                self.visit(next, alternative.line, path, done)?;
            }
        }
        path.pop();
        done.insert(name);
        Ok(())
    }

    fn lines(&self, count: u64, seed: u64) -> Result<Vec<String>, Error> {
        let mut seen = HashSet::new();
        (0..count)
            .map(|line| {
                let fresh = (0..TRIES).map(|attempt| self.line(&mut stream(&[seed, line, attempt])));
                let found = fresh.into_iter().find(|text| seen.insert(text.to_lowercase()));
                found.ok_or(Error::Exhausted { line: line + 1, asked: count })
            })
            .collect()
    }

    fn line(&self, rng: &mut impl Rng) -> String {
        let mut expansion = Expansion { rules: &self.rules, rng, given: HashSet::new(), text: String::new() };
        expansion.rule(START);
        let text = expansion.text;
        in_style(&tidy(&text), draw(rng, 20))
    }
}

/// One line in the making.
struct Expansion<'a, R> {
    rules: &'a HashMap<String, Rule>,
    rng: &'a mut R,
    /// Alternatives that this line has had: a message does not say the same thing twice.
    given: HashSet<(&'a str, usize)>,
    text: String,
}

impl<'a, R: Rng> Expansion<'a, R> {
    fn rule(&mut self, name: &'a str) {
        let alternatives = &self.rules[name].alternatives;
        let fresh: Vec<usize> = (0..alternatives.len()).filter(|index| !self.given.contains(&(name, *index))).collect();
        let index = match fresh.len() {
            0 => draw(self.rng, alternatives.len()),
            left => fresh[draw(self.rng, left)],
        };
        self.given.insert((name, index));
        self.append(&alternatives[index].parts);
    }

    fn append(&mut self, parts: &'a [Part]) {
        for part in parts {
            match part {
                Part::Text(text) => self.text.push_str(text),
                Part::Rule(name) => self.rule(name),
                Part::Choice(branches) => {
                    let index = draw(self.rng, branches.len());
                    self.append(&branches[index]);
                }
            }
        }
    }
}

/// A number below `count`, by multiplication: it depends on nothing but the generator's bits.
fn draw(rng: &mut impl Rng, count: usize) -> usize {
    ((u128::from(rng.next_u64()) * count as u128) >> 64) as usize
}

fn references(parts: &[Part]) -> Vec<&str> {
    parts
        .iter()
        .flat_map(|part| match part {
            Part::Text(_) => Vec::new(),
            Part::Rule(name) => vec![name.as_str()],
            Part::Choice(branches) => branches.iter().flat_map(|branch| references(branch)).collect(),
        })
        .collect()
}

fn alternative(content: &str, line: usize) -> Result<Vec<Part>, Fault> {
    let mut chars = content.chars().peekable();
    let parts = sequence(&mut chars, line)?;
    match chars.next() {
        Some(mark) => Err(Fault::Stray { line, mark }),
        None => Ok(parts),
    }
}

/// Reads up to the `|` or `]` that ends a branch, or to the end of the line.
fn sequence(chars: &mut Peekable<Chars>, line: usize) -> Result<Vec<Part>, Fault> {
    let mut parts = Vec::new();
    let mut text = String::new();
    while let Some(c) = chars.next_if(|c| !['|', ']'].contains(c)) {
        let part = match c {
            '[' => choice(chars, line)?,
            '{' => reference(chars, line)?,
            '}' => return Err(Fault::Stray { line, mark: c }),
            _ => {
                text.push(c);
                continue;
            }
        };
        push_text(&mut parts, &mut text);
        parts.push(part);
    }
    push_text(&mut parts, &mut text);
    Ok(parts)
}

fn push_text(parts: &mut Vec<Part>, text: &mut String) {
    if !text.is_empty() {
        parts.push(Part::Text(std::mem::take(text)));
    }
}

fn choice(chars: &mut Peekable<Chars>, line: usize) -> Result<Part, Fault> {
    let mut branches = Vec::new();
    loop {
        branches.push(sequence(chars, line)?);
        match chars.next() {
            Some('|') => {}
            Some(_) => return Ok(Part::Choice(branches)),
            None => return Err(Fault::Unclosed { line, bracket: '[' }),
        }
    }
}

fn reference(chars: &mut Peekable<Chars>, line: usize) -> Result<Part, Fault> {
    let name: String = std::iter::from_fn(|| chars.next_if(|c| *c != '}')).collect();
    chars.next().map(|_| Part::Rule(name)).ok_or(Fault::Unclosed { line, bracket: '{' })
}

/// Mends what the seams between parts leave: spaces, marks after a question mark, `a` before a vowel.
fn tidy(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let marks = [",", ".", "!", "?", "'"];
    let line = marks.iter().fold(with_articles(&words), |line, mark| line.replace(&format!(" {mark}"), mark));
    ["?...", "?.", "?,", "?!"].iter().fold(line, |line, doubled| line.replace(doubled, "?"))
}

fn with_articles(words: &[&str]) -> String {
    let nexts = words.iter().skip(1).chain([&""]);
    let mended = words.iter().zip(nexts).map(|(word, next)| match (*word, takes_an(next)) {
        ("a" | "an", true) => "an",
        ("a" | "an", false) => "a",
        ("A" | "An", true) => "An",
        ("A" | "An", false) => "A",
        _ => word,
    });
    mended.collect::<Vec<_>>().join(" ")
}

/// Goes by sound, as far as the words of a help desk need it.
fn takes_an(word: &str) -> bool {
    let word = word.to_lowercase();
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| word.starts_with(prefix));
    !starts(&["use", "usual", "one", "eu"])
        && starts(&["a", "e", "i", "o", "u", "8", "hour", "sms", "ssid", "xbox", "led"])
}

/// Puts a line in one of 20 styles: mostly sentence case, often lower case, now and then shouting.
///
/// A line that starts with a capital is careful prose and stays as it is.
fn in_style(line: &str, style: usize) -> String {
    match style {
        _ if line.starts_with(char::is_uppercase) => line.to_string(),
        0..8 => line.to_lowercase(),
        8 => line.to_uppercase(),
        _ => sentence_case(line),
    }
}

fn sentence_case(line: &str) -> String {
    let mut start = true;
    let words = line.split(' ').map(|word| {
        let pronoun = ["i", "i,", "i?"].contains(&word) || word.starts_with("i'");
        let cased = if start || pronoun { capitalised(word) } else { word.to_string() };
        start = word.ends_with(['.', '!', '?']);
        cased
    });
    words.collect::<Vec<_>>().join(" ")
}

fn capitalised(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> Fault {
        Grammar::parse(text).expect_err("the grammar is faulty")
    }

    fn all(text: &str, count: u64) -> Vec<String> {
        let mut lines = Grammar::parse(text).expect("a grammar").lines(count, 1).expect("enough lines");
        lines.iter_mut().for_each(|line| *line = line.to_lowercase());
        lines.sort();
        lines
    }

    #[test]
    fn rules_choices_and_empty_branches_expand_to_every_line() {
        let text = "# head\nline:\n  {who} runs[ fast|]\n\nwho:\n  a [black [cat|dog]|hare]\n  bo\n";
        let expected = ["a black cat", "a black dog", "a hare", "bo"]
            .map(|who| [format!("{who} runs"), format!("{who} runs fast")]);
        let mut expected = expected.concat();
        expected.sort();
        assert_eq!(all(text, 8), expected);
    }

    #[test]
    fn a_seed_gives_the_same_lines_and_another_seed_gives_others() {
        let grammar = Grammar::parse("line:\n  {d}{d}{d}{d}\nd:\n  [1|2|3|4|5|6|7|8]\n").expect("a grammar");
        let lines = |seed| grammar.lines(20, seed).expect("enough lines");
        assert_eq!(lines(1), lines(1));
        assert_ne!(lines(1), lines(2));
    }

    #[test]
    fn a_line_repeats_no_alternative_while_others_are_left() {
        assert_eq!(all("line:\n  {d} {d}\nd:\n  a\n  b\n", 2), ["a b", "b a"]);
    }

    #[test]
    fn each_fault_names_its_line() {
        let name = |name: &str| name.to_string();
        assert_eq!(fault("line:\n  a\n  {b}\n"), Fault::Unknown { line: 3, name: name("b") });
        assert_eq!(fault("line:\n  a\nb:\n  c\n"), Fault::Unused { line: 3, name: name("b") });
        assert_eq!(fault("line:\n  {b}\nb:\n"), Fault::NoAlternatives { line: 3, name: name("b") });
        assert_eq!(fault("line:\n  a [b|c\n"), Fault::Unclosed { line: 2, bracket: '[' });
        assert_eq!(fault("line:\n  a {b\n"), Fault::Unclosed { line: 2, bracket: '{' });
        assert_eq!(fault("line:\n  a | b\n"), Fault::Stray { line: 2, mark: '|' });
        assert_eq!(fault("line:\n  a}\n"), Fault::Stray { line: 2, mark: '}' });
        assert_eq!(fault("line:\n  a\nline:\n  b\n"), Fault::Twice { line: 3, name: name("line") });
        assert_eq!(fault("  a\n"), Fault::NoRule { line: 1, text: name("a") });
        assert_eq!(fault("line\n"), Fault::NoRule { line: 1, text: name("line") });
        assert_eq!(fault(""), Fault::Unknown { line: 1, name: name("line") });
    }

    #[test]
    fn recursion_is_shown_as_a_chain_even_inside_a_choice() {
        let chain = "a -> b -> a".to_string();
        assert_eq!(fault("line:\n  {a}\na:\n  x {b}\nb:\n  [y|z {a}]\n"), Fault::Recursion { line: 6, chain });
    }

    #[test]
    fn a_grammar_too_small_for_the_count_is_an_error() {
        let grammar = Grammar::parse("line:\n  [a|b]\n").expect("a grammar");
        assert!(matches!(grammar.lines(3, 1), Err(Error::Exhausted { line: 3, asked: 3 })));
    }

    #[test]
    fn the_message_begins_with_file_and_line() {
        let error = Error::Grammar { file: "g.txt".into(), fault: fault("line:\n  {b}\n") };
        assert_eq!(error.to_string(), "g.txt:2: unknown rule `b`; define it or mend its spelling");
    }

    #[test]
    fn styles_change_case_only_and_leave_careful_prose_alone() {
        assert_eq!(
            tidy(" i 'm  down , or  slow ?. a invoice, an used box"),
            "i'm down, or slow? an invoice, a used box"
        );
        assert_eq!(in_style("hi. can i call Fennel?", 19), "Hi. Can I call Fennel?");
        assert_eq!(in_style("hi. can i call Fennel?", 0), "hi. can i call fennel?");
        assert_eq!(in_style("Restart the box.", 0), "Restart the box.");
    }

    #[test]
    fn the_shipped_grammar_is_sound() {
        let text = include_str!("../assets/intents/grammar.txt");
        assert_eq!(Grammar::parse(text).expect("a sound grammar").lines(200, 1).expect("enough lines").len(), 200);
    }
}
