use crate::backbone::{Backbone, InputError, Stages};
use crate::rows::{Rows, RowsExt, RowsVisitor};
use burn::module::Module;
use burn::tensor::{Bool, Int, Tensor};

/// A tower's input until it is embedded, its state after.
#[derive(Clone, Debug)]
pub enum Flow<I, S> {
    /// Not embedded yet.
    Input(I),
    /// Not embedded yet, of a tower that reads padding: rows keep theirs.
    Padded(I),
    /// After the first stage.
    State(S),
}

impl<I: Rows, S: Rows> Rows for Flow<I, S> {
    fn each<V: RowsVisitor>(&mut self, visitor: &mut V) {
        match self {
            Self::Input(input) => input.each(visitor),
            Self::Padded(input) => input.each(&mut Whole(visitor)),
            Self::State(state) => state.each(visitor),
        }
    }
}

/// Does not hear where rows end.
struct Whole<'a, V>(&'a mut V);

impl<V: RowsVisitor> RowsVisitor for Whole<'_, V> {
    fn float<const D: usize>(&mut self, tensor: &mut Tensor<D>) {
        self.0.float(tensor);
    }
    fn int<const D: usize>(&mut self, tensor: &mut Tensor<D, Int>) {
        self.0.int(tensor);
    }
    fn bool<const D: usize>(&mut self, tensor: &mut Tensor<D, Bool>) {
        self.0.bool(tensor);
    }
}

impl<I, S> Flow<I, S> {
    fn new<B: Backbone<Input = I>>(tower: &B, input: I) -> Self {
        if tower.reads_padding() { Self::Padded(input) } else { Self::Input(input) }
    }

    /// Runs stage `index` of a tower, which of an input is its first.
    fn run<B: Backbone<Input = I, State = S>>(self, tower: &B, index: usize, pooled: bool) -> Self {
        Self::State(match self {
            Self::Input(input) | Self::Padded(input) => tower.embed(input),
            Self::State(state) if pooled => tower.stage_pooled(index, state),
            Self::State(state) => tower.stage(index, state),
        })
    }

    fn finish<B: Backbone<Input = I, State = S>>(self, tower: &B) -> B::Features {
        match self {
            Self::State(state) => tower.finish(state),
            Self::Input(input) | Self::Padded(input) => tower.finish(tower.embed(input)),
        }
    }
}

/// Two independent backbones, of which either may be the frozen one; rows that belong together have the same index.
#[derive(Module, Debug)]
pub struct Towers<A, B> {
    /// Reads images.
    pub image: A,
    /// Reads texts.
    pub text: B,
}

impl<A: Backbone, B: Backbone> Towers<A, B> {
    /// Which stage of which tower stage `index` is: of the image's, or else of the text's.
    fn place(&self, index: usize) -> Result<usize, usize> {
        let (index, images) = (index - 1, self.image.stages().len());
        if index < images { Ok(index) } else { Err(index - images) }
    }

    fn run(&self, index: usize, (image, text): State<A, B>, pooled: bool) -> State<A, B> {
        match self.place(index) {
            Ok(stage) => (image.run(&self.image, stage, pooled), text),
            Err(stage) => (image, text.run(&self.text, stage, pooled)),
        }
    }
}

type State<A, B> =
    (Flow<<A as Backbone>::Input, <A as Backbone>::State>, Flow<<B as Backbone>::Input, <B as Backbone>::State>);

impl<A: Backbone, B: Backbone> Backbone for Towers<A, B> {
    type Input = (A::Input, B::Input);
    type State = State<A, B>;
    type Features = (A::Features, B::Features);

    fn stages(&self) -> Stages {
        Stages::new().bare("input").beside("image", self.image.stages()).beside("text", self.text.stages())
    }

    fn check(&self, (image, text): &Self::Input) -> Result<(), InputError> {
        let (images, texts) = (image.rows(), text.rows());
        if images != texts {
            return Err(InputError::Unpaired { images, texts });
        }
        self.image.check(image)?;
        self.text.check(text)
    }

    fn positions(&self) -> Option<usize> {
        self.text.positions()
    }

    fn mixing_operations(&self, stage: usize, seq: usize) -> f64 {
        match stage {
            0 => 0.0,
            _ => match self.place(stage) {
                Ok(stage) => self.image.mixing_operations(stage, seq),
                Err(stage) => self.text.mixing_operations(stage, seq),
            },
        }
    }

    fn operations_spared(&self, stage: usize, seq: usize) -> f64 {
        match stage {
            0 => 0.0,
            _ => match self.place(stage) {
                Ok(stage) => self.image.operations_spared(stage, seq),
                Err(stage) => self.text.operations_spared(stage, seq),
            },
        }
    }

    fn leaves_out(&self, stage: usize) -> bool {
        match stage {
            0 => false,
            _ => match self.place(stage) {
                Ok(stage) => self.image.leaves_out(stage),
                Err(stage) => self.text.leaves_out(stage),
            },
        }
    }

    fn embed(&self, (image, text): Self::Input) -> Self::State {
        (Flow::new(&self.image, image), Flow::new(&self.text, text))
    }

    fn stage(&self, index: usize, state: Self::State) -> Self::State {
        self.run(index, state, false)
    }

    fn stage_pooled(&self, index: usize, state: Self::State) -> Self::State {
        self.run(index, state, true)
    }

    fn finish(&self, (image, text): Self::State) -> Self::Features {
        (image.finish(&self.image), text.finish(&self.text))
    }

    fn after_step(self) -> Self {
        Self { image: self.image.after_step(), text: self.text.after_step() }
    }
}
