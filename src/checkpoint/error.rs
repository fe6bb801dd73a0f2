//! What can go wrong with a checkpoint.

use std::io;
use std::path::{Path, PathBuf};

use super::encode::SaveDtype;
use super::number_type::NumberType;

/// An error of reading, translating or writing a checkpoint. Each message names the thing and says the mend.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The operating system refused an operation on a file or folder.
    #[error("cannot {action} `{}`: {source}; check the path, its permissions and the free space", path.display())]
    Io {
        /// What was tried, as a verb: `read`, `write`, `replace`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The folder holds no weights that we know.
    #[error("no weights in `{}`: looked for {}; pass the folder that holds one of them", dir.display(), looked_for.join(", "))]
    NoWeights {
        /// The folder.
        dir: PathBuf,
        /// The file names that would have done.
        looked_for: Vec<String>,
    },
    /// A PyTorch file holds something else than tensors in a dictionary, such as code to run.
    #[error(
        "`{}` holds {what}: of a PyTorch file, tensors in a dictionary are read, and nothing is run; if you trust it, save its tensors \
         in Python: `import torch, safetensors.torch as s; w = torch.load(\"{}\", weights_only=False); \
         s.save_file({{k: v.clone().contiguous() for k, v in w.items()}}, \"model.safetensors\", metadata={{\"format\": \"pt\"}})`",
        path.display(), file_name(path)
    )]
    NotAStateDict {
        /// The file.
        path: PathBuf,
        /// What it holds, such as "the global `os.system`".
        what: String,
    },
    /// A folder that a model should replace holds something else.
    #[error(
        "`{}` holds files but is no model folder (it has no config.json, or a .git), and saving would delete them; give a new or an empty folder",
        dir.display()
    )]
    NotAModelFolder {
        /// The folder.
        dir: PathBuf,
    },
    /// The bytes of a file contradict its format.
    #[error("`{}` is damaged: {reason}; download or save it again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What contradicts what.
        reason: String,
    },
    /// A JSON file does not parse, or lacks a field.
    #[error("`{}`{}: {reason}; mend the JSON or download it again", path.display(), place(*line, *column))]
    BadJson {
        /// The file.
        path: PathBuf,
        /// Line, from 1; 0 where the JSON is sound and a field is at fault.
        line: usize,
        /// Column, from 1; 0 likewise.
        column: usize,
        /// What the parser said.
        reason: String,
    },
    /// Tensors that were asked for are not in the file.
    #[error("`{}` lacks {}; check that it belongs to this architecture and is complete", path.display(), name_some(keys))]
    MissingKey {
        /// The keys, in the file's naming.
        keys: Vec<String>,
        /// The file or folder.
        path: PathBuf,
    },
    /// The file holds tensors that nobody knows what to do with.
    #[error("`{}` holds {}, which nothing takes; {mend}", path.display(), name_some(keys))]
    UnknownKey {
        /// The keys, in the file's naming.
        keys: Vec<String>,
        /// The file or folder.
        path: PathBuf,
        /// What to do about it.
        mend: String,
    },
    /// A tensor has another shape than the parameter that it should fill.
    #[error("`{key}` has shape {found:?} where {expected:?} is expected; check the sizes in the configuration")]
    WrongShape {
        /// The key or path.
        key: String,
        /// The shape of the parameter.
        expected: Vec<usize>,
        /// The shape of the tensor.
        found: Vec<usize>,
    },
    /// A tensor to be saved has more or fewer values than its shape says.
    #[error(
        "`{key}` has {values} values, which do not fill shape {shape:?}; pass as many values as the product of its sizes"
    )]
    WrongLength {
        /// The key.
        key: String,
        /// The declared shape.
        shape: Vec<usize>,
        /// How many values came.
        values: usize,
    },
    /// A tensor is stored in a number type that cannot be read as the asked one.
    #[error("`{key}` is stored as {dtype}, but {wanted} can read only {}; convert the tensor first", readable.join(", "))]
    UnsupportedDtype {
        /// The key.
        key: String,
        /// How it is stored.
        dtype: NumberType,
        /// What was asked for: `f32` or `i64`.
        wanted: &'static str,
        /// The number types that would have done.
        readable: &'static [&'static str],
    },
    /// A tensor holds an infinity or a NaN.
    #[error(
        "`{key}` holds {value} at flat index {index}; the run that saved it had diverged, or float32 cannot hold the value: take an earlier checkpoint"
    )]
    NotFinite {
        /// The key.
        key: String,
        /// Place of the first such value in row-major order.
        index: usize,
        /// The value.
        value: f32,
    },
    /// A finite value that the number type to save in cannot hold.
    #[error("`{key}` holds {value} at flat index {index}, which {dtype} cannot hold; save in bfloat16 or float32")]
    OutOfRange {
        /// The key.
        key: String,
        /// Place of the first such value in row-major order.
        index: usize,
        /// The value.
        value: f32,
        /// The number type.
        dtype: SaveDtype,
    },
    /// One key stands for two tensors.
    #[error("`{key}` occurs twice, in {first} and in {second}; remove or rename one of them")]
    DuplicateKey {
        /// The key.
        key: String,
        /// Where it occurs first.
        first: String,
        /// Where it occurs again.
        second: String,
    },
    /// A shard that the index names is not there.
    #[error("`{}` names the shard `{shard}`, which is not in its folder; download all {total} shards", index.display())]
    ShardMissing {
        /// The index file.
        index: PathBuf,
        /// The shard's name.
        shard: String,
        /// How many shards the index names.
        total: usize,
    },
    /// A shard's name leads out of the folder of its index.
    #[error("`{}` names the shard `{shard}`, which leads out of its folder; do not trust this checkpoint, or name the shard by its bare file name", index.display())]
    ShardOutside {
        /// The index file.
        index: PathBuf,
        /// The shard's name.
        shard: String,
    },
    /// A field of a configuration file asks for something that this crate does not do.
    #[error(
        "the configuration field `{field}` is {value}, but supported is {supported}; use another checkpoint or change the field"
    )]
    UnsupportedConfig {
        /// The field.
        field: String,
        /// Its value.
        value: String,
        /// What it may be.
        supported: String,
    },
    /// A parameter that the key map does not name.
    #[error("`{path}` has no key in files of this architecture; add a rule to its key map, or use `save_weights`")]
    Unmapped {
        /// The parameter.
        path: String,
    },
    /// Two rules of a key map contradict each other, or a rule is malformed.
    #[error("key map rule `{rule}`: {reason}")]
    BadRule {
        /// The rule, as `path -> key`.
        rule: String,
        /// What is wrong and the mend.
        reason: String,
    },
}

impl CheckpointError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_path_buf(), source }
    }

    pub(super) fn bad_json(path: &Path, error: &serde_json::Error) -> Self {
        let reason = error.to_string();
        Self::BadJson { path: path.to_path_buf(), line: error.line(), column: error.column(), reason }
    }

    pub(super) fn damaged(path: &Path, reason: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_path_buf(), reason: reason.into() }
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn place(line: usize, column: usize) -> String {
    if line == 0 { String::new() } else { format!(" line {line} column {column}") }
}

/// Names the first few, so that a message about 400 keys stays readable.
pub(super) fn name_some(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let mut text = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text += &format!(" and {} more", names.len() - SHOWN);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_cut() {
        let names: Vec<_> = (0..7).map(|i| format!("k{i}")).collect();
        assert_eq!(name_some(&names), "`k0`, `k1`, `k2`, `k3`, `k4` and 2 more");
        assert_eq!(name_some(&names[..1]), "`k0`");
    }

    #[test]
    fn a_place_is_told_where_there_is_one() {
        let path = Path::new("config.json");
        let told = |error: serde_json::Error| CheckpointError::bad_json(path, &error).to_string();
        let broken = serde_json::from_str::<u8>("\n x").expect_err("no number");
        assert!(told(broken).starts_with("`config.json` line 2 column 2: "));
        let unfit = serde_json::from_value::<u8>(serde_json::json!(-1)).expect_err("below 0");
        assert!(told(unfit).starts_with("`config.json`: invalid value: integer `-1`"));
    }

    #[test]
    fn the_conversion_hint_is_valid_python_braces() {
        let path = "m/pytorch_model.bin".into();
        let message = CheckpointError::NotAStateDict { path, what: "a list".into() }.to_string();
        assert!(message.contains("torch.load(\"pytorch_model.bin\", "), "{message}");
        assert!(message.contains("s.save_file({k: v.clone().contiguous() for k, v in w.items()}"), "{message}");
    }
}
