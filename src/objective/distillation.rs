use super::{Batch, Draws, Objective};
use crate::backbone::Backbone;
use crate::data::{BatchOrder, DataError};
use crate::error::Error;
use crate::head::{DistilledTargets, TaskHead};
use crate::model::Model;
use crate::params::list;
use crate::random::mix;
use crate::train::plain_device;
use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};

/// An example and what the teacher says about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Taught<E> {
    example: E,
    /// `None` where the input changes, so that the teacher is asked anew every time.
    logits: Option<Vec<f32>>,
    fingerprint: u64,
}

impl<E> Taught<E> {
    /// The example.
    pub fn example(&self) -> &E {
        &self.example
    }

    /// The teacher's logits, one a class, where they are the same every time.
    pub fn logits(&self) -> Option<&[f32]> {
        self.logits.as_deref()
    }
}

/// Adds a teacher's logits to the targets of another objective, for a
/// [`DistilledClassifier`](crate::head::DistilledClassifier) ([Hinton et al., 2015](https://arxiv.org/abs/1503.02531)).
///
/// The teacher is any model that reads the same input and gives logits `[batch, classes]`. It stays plain: no graph, no
/// dropout. Where an example makes the same input every time, it is asked once an example.
#[derive(Debug)]
pub struct Distillation<O, B, H> {
    objective: O,
    /// Modules need not be shared between threads.
    teacher: Mutex<Model<B, H>>,
}

impl<O, B, H> Distillation<O, B, H>
where
    O: Objective<Targets = Tensor<1, Int>>,
    B: Backbone<Input = O::Input>,
    H: TaskHead<B::Features, Output = Tensor<2>>,
{
    /// The teacher's classes have the order of the objective's labels.
    pub fn new(objective: O, teacher: &Model<B, H>) -> Self {
        Self { objective, teacher: Mutex::new(teacher.valid()) }
    }

    /// The objective without the teacher.
    pub fn objective(&self) -> &O {
        &self.objective
    }

    /// Asks the teacher about every example, `batch_size` at once, where what it says stays the same; otherwise it will be
    /// asked batch by batch.
    ///
    /// # Errors
    /// An example without a label, an input that the teacher cannot read, a logit that is not finite.
    pub fn examples(&self, examples: Vec<O::Example>, batch_size: usize) -> Result<Vec<Taught<O::Example>>, Error> {
        let mut logits: Vec<Option<Vec<f32>>> = vec![None; examples.len()];
        if self.objective.repeats() {
            let lengths: Vec<usize> = examples.iter().map(|example| self.objective.length(example)).collect();
            for indices in BatchOrder::by_length(batch_size).batches(&lengths, 0) {
                let chosen: Vec<_> = indices.iter().map(|index| &examples[*index]).collect();
                let rows = self.ask(&chosen, &Draws::new(0, 0, &indices))?;
                indices.into_iter().zip(rows).for_each(|(index, row)| logits[index] = Some(row));
            }
        }
        let teacher = if self.objective.repeats() { 0 } else { self.teacher_fingerprint() };
        let fingerprint = |example: &O::Example, logits: &Option<Vec<f32>>| {
            let said = logits.iter().flatten().map(|logit| u64::from(logit.to_bits()));
            mix(&[self.objective.fingerprint(example), teacher].into_iter().chain(said).collect::<Vec<_>>())
        };
        let taught = examples.into_iter().zip(logits).map(|(example, logits)| {
            let fingerprint = fingerprint(&example, &logits);
            Taught { example, logits, fingerprint }
        });
        Ok(taught.collect())
    }

    /// The teacher's logits, one list a row, on the teacher's device.
    fn ask(&self, examples: &[&O::Example], draws: &Draws) -> Result<Vec<Vec<f32>>, DataError> {
        let teacher = self.teacher.lock().unwrap_or_else(PoisonError::into_inner);
        let batch = self.objective.batch(examples, draws, &plain_device(&*teacher))?;
        teacher.backbone.check(&batch.input).map_err(|source| DataError::Teacher { source })?;
        let logits = teacher.forward(batch.input);
        let classes = logits.dims()[1];
        let values: Vec<f32> = logits.into_data().iter::<f32>().collect();
        match values.iter().position(|value| !value.is_finite()) {
            Some(at) => Err(DataError::TeacherNotFinite { index: draws.example(at / classes) }),
            None => Ok(values.chunks_exact(classes.max(1)).map(<[f32]>::to_vec).collect()),
        }
    }

    fn teacher_fingerprint(&self) -> u64 {
        let teacher = self.teacher.lock().unwrap_or_else(PoisonError::into_inner);
        let sums = crate::checkpoint::selected(&*teacher, |_| true).into_iter().map(|(_, _, values)| {
            values.iter().fold(0, |state, value| crate::random::mix_into(state, u64::from(value.to_bits())))
        });
        mix(&sums.chain([list(&*teacher).len() as u64]).collect::<Vec<_>>())
    }
}

impl<O, B, H> Objective for Distillation<O, B, H>
where
    O: Objective<Targets = Tensor<1, Int>>,
    B: Backbone<Input = O::Input>,
    H: TaskHead<B::Features, Output = Tensor<2>>,
{
    type Example = Taught<O::Example>;
    type Input = O::Input;
    type Targets = DistilledTargets;

    fn batch(
        &self,
        examples: &[&Taught<O::Example>],
        draws: &Draws,
        device: &Device,
    ) -> Result<Batch<O::Input, DistilledTargets>, DataError> {
        let inner: Vec<&O::Example> = examples.iter().map(|taught| &taught.example).collect();
        let known: Option<Vec<Vec<f32>>> = examples.iter().map(|taught| taught.logits.clone()).collect();
        let rows = match known {
            Some(rows) => rows,
            None => self.ask(&inner, draws)?,
        };
        let Batch { input, targets: labels } = self.objective.batch(&inner, draws, device)?;
        let classes = rows.first().map_or(0, Vec::len);
        if let Some(row) = rows.iter().position(|row| row.len() != classes) {
            return Err(DataError::Teachers { index: draws.example(row), found: rows[row].len(), classes });
        }
        let teacher = Tensor::from_data(TensorData::new(rows.concat(), [rows.len(), classes]), device);
        Ok(Batch { input, targets: DistilledTargets { labels, teacher } })
    }

    fn length(&self, example: &Taught<O::Example>) -> usize {
        self.objective.length(&example.example)
    }

    fn fingerprint(&self, example: &Taught<O::Example>) -> u64 {
        example.fingerprint
    }

    fn repeats(&self) -> bool {
        self.objective.repeats()
    }
}
