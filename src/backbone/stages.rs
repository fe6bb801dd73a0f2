/// One step of a backbone's forward pass, and the parameters it reads.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// Its name, usually the path of the module it runs.
    pub name: String,
    /// Paths of the modules or parameters it reads, relative to the backbone.
    pub owns: Vec<String>,
    /// The stages whose results it reads.
    pub reads: Vec<usize>,
    /// Whether layer-wise learning rates count it with the head (a pooler, a final norm) instead of as a layer.
    pub with_head: bool,
}

/// The stages of a backbone in running order, input side first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stages(Vec<Stage>);

impl Stages {
    /// No stage yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A stage that owns the module at `path` and reads the stage before it.
    pub fn stage(self, path: impl Into<String>) -> Self {
        let path = path.into();
        self.push(path.clone(), vec![path])
    }

    /// A stage that owns the modules or parameters at `owns` and reads the stages `reads` (a second tower's start).
    pub fn stage_of(mut self, name: impl Into<String>, owns: &[&str], reads: &[usize]) -> Self {
        let owns = owns.iter().map(ToString::to_string).collect();
        self.0.push(Stage { name: name.into(), owns, reads: reads.to_vec(), with_head: false });
        self
    }

    /// `count` stages `path.0`, `path.1`, ...
    pub fn stages(self, path: &str, count: usize) -> Self {
        (0..count).fold(self, |stages, index| stages.stage(format!("{path}.{index}")))
    }

    /// A stage without parameters.
    pub fn bare(self, name: impl Into<String>) -> Self {
        self.push(name.into(), vec![])
    }

    /// The last stage also reads the parameters at `path` (a shared embedding, ALBERT's one layer).
    pub fn also(mut self, path: impl Into<String>) -> Self {
        if let Some(last) = self.0.last_mut() {
            last.owns.push(path.into());
        }
        self
    }

    /// The last stage also reads what the stage of this index made (a decoder the encoder's result).
    pub fn also_reads(mut self, stage: usize) -> Self {
        if let Some(last) = self.0.last_mut().filter(|last| !last.reads.contains(&stage)) {
            last.reads.push(stage);
        }
        self
    }

    /// Layer-wise learning rates count the last stage with the head.
    pub fn counted_with_head(mut self) -> Self {
        if let Some(last) = self.0.last_mut() {
            last.with_head = true;
        }
        self
    }

    /// The stages of `other`, all paths under `prefix`, after the last stage.
    pub fn then(self, prefix: &str, other: Stages) -> Self {
        let from = self.0.len().checked_sub(1);
        self.put(prefix, other, from)
    }

    /// The stages of `other`, all paths under `prefix`, starting from stage 0: independent of the stages between (a
    /// second tower).
    pub fn beside(self, prefix: &str, other: Stages) -> Self {
        self.put(prefix, other, Some(0))
    }

    fn push(mut self, name: String, owns: Vec<String>) -> Self {
        let reads = self.0.len().checked_sub(1).into_iter().collect();
        self.0.push(Stage { name, owns, reads, with_head: false });
        self
    }

    fn put(mut self, prefix: &str, other: Stages, from: Option<usize>) -> Self {
        let base = self.0.len();
        self.0.extend(other.0.into_iter().map(|stage| Stage {
            name: format!("{prefix}.{}", stage.name),
            owns: stage.owns.iter().map(|path| format!("{prefix}.{path}")).collect(),
            reads: match stage.reads.is_empty() {
                true => from.into_iter().collect(),
                false => stage.reads.iter().map(|read| read + base).collect(),
            },
            with_head: stage.with_head,
        }));
        self
    }
}

impl std::ops::Deref for Stages {
    type Target = [Stage];
    fn deref(&self) -> &[Stage] {
        &self.0
    }
}
