use crate::nn::Documents;
use burn::tensor::{Bool, Int, Tensor};
use thiserror::Error;

/// Token ids as a text backbone reads them.
#[derive(Clone, Debug)]
pub struct TextInput {
    /// Token ids, `[batch, seq]`.
    pub ids: Tensor<2, Int>,
    /// Segment ids, `[batch, seq]`: 0 for the first text, 1 for the second.
    pub type_ids: Tensor<2, Int>,
    /// True for real tokens, false for padding, `[batch, seq]`. Padding stands on the right, or on the left of a decoder.
    pub mask: Tensor<2, Bool>,
    /// Which document each place of packed rows belongs to, `[batch, seq]`: each run of one number other than 0 is a
    /// document, and 0 is padding. A place sees its own document alone, and positions begin anew in each. `None` where a
    /// row is one text.
    pub documents: Option<Tensor<2, Int>>,
}
crate::rows!(TextInput {} padded { ids, type_ids, mask, documents } by mask);

impl TextInput {
    /// Positions counted from 0: `[1, seq]`, or `[batch, seq]` of packed rows, where they begin anew in each document.
    pub fn positions(&self) -> Tensor<2, Int> {
        let (device, [_, seq]) = (self.ids.device(), self.ids.dims());
        match &self.documents {
            Some(documents) => Documents::new(documents).positions(&device),
            None => Tensor::<1, Int>::arange(0..seq as i64, &device).unsqueeze(),
        }
    }

    fn longest_document(&self) -> usize {
        self.documents.as_ref().map_or(0, |documents| Documents::new(documents).longest())
    }

    fn check_same_shapes(&self) -> Result<(), InputError> {
        let expected = self.ids.dims();
        let documents = self.documents.as_ref().map_or(expected, |documents| documents.dims());
        for (what, found) in [("type_ids", self.type_ids.dims()), ("mask", self.mask.dims()), ("documents", documents)]
        {
            if found != expected {
                return Err(InputError::ShapeMismatch { what, found: found.to_vec(), expected: expected.to_vec() });
            }
        }
        Ok(())
    }
}

/// Why a backbone cannot read an input.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum InputError {
    /// More tokens than there are positions.
    #[error("a row has {found} tokens, but this network has positions for {max}; lower `max_length` to at most {max}")]
    TooLong {
        /// Tokens of the longest row.
        found: usize,
        /// Positions of the network.
        max: usize,
    },
    /// An id beyond its table.
    #[error("{kind} id {id} is outside the network's table of {entries}; the tokenizer belongs to another checkpoint")]
    IdOutOfRange {
        /// `token` or `segment`.
        kind: &'static str,
        /// The id.
        id: i64,
        /// Entries of the table.
        entries: usize,
    },
    /// Tensors of one input that do not go together.
    #[error("{what} has shape {found:?}, the ids have {expected:?}; give one value for each id")]
    ShapeMismatch {
        /// `type_ids`, `mask` or `documents`.
        what: &'static str,
        /// Its shape.
        found: Vec<usize>,
        /// The shape of the ids.
        expected: Vec<usize>,
    },
    /// Packed rows, for a network that reads one text a row.
    #[error(
        "this network cannot read several documents in one row: it would look across their borders; do not pack them"
    )]
    Packed,
    /// A place that is a token by the mask and padding by the documents, or the other way round.
    #[error("place {place} of row {row} is padding in only one of `mask` and `documents`; give padding document 0")]
    BadDocument {
        /// The row of the batch.
        row: usize,
        /// The place in the row.
        place: usize,
    },
    /// Images of another kind than the network's.
    #[error("the images have {found} channels, this network reads {expected}; convert them")]
    Channels {
        /// Channels of the images.
        found: usize,
        /// Channels of the network.
        expected: usize,
    },
    /// Images that are too small for the network's patches or windows.
    #[error(
        "the images are {height} x {width} pixels, this network reads {least_height} x {least_width} or more; enlarge them"
    )]
    TooSmall {
        /// Height of the images.
        height: usize,
        /// Width of the images.
        width: usize,
        /// Least height.
        least_height: usize,
        /// Least width.
        least_width: usize,
    },
    /// Two parts of a pair with another number of rows.
    #[error("there are {images} images and {texts} texts; give one text for each image")]
    Unpaired {
        /// Rows of images.
        images: usize,
        /// Rows of texts.
        texts: usize,
    },
    /// A class that the head does not have.
    #[error("class {class} is not one of the head's {classes}; make the head for as many classes as there are labels")]
    ClassOutOfRange {
        /// The class index.
        class: i64,
        /// Classes of the head.
        classes: usize,
    },
    /// Targets of another width than the head's outputs.
    #[error(
        "a row has {found} targets, the head gives {outputs} outputs; make the head for as many outputs as there are targets"
    )]
    TargetWidth {
        /// Targets of a row.
        found: usize,
        /// Outputs of the head.
        outputs: usize,
    },
    /// A target that cannot be compared with.
    #[error("target {output} of row {row} is not {wanted}; mend it or leave the row out")]
    BadTarget {
        /// The row of the batch.
        row: usize,
        /// Its place in the row.
        output: usize,
        /// What it should be.
        wanted: &'static str,
    },
    /// A teacher of another task.
    #[error(
        "the teacher gives logits of shape {teacher:?}, the student has {rows} rows and {classes} classes; take a teacher with the student's labels"
    )]
    TeacherMismatch {
        /// Shape of the teacher's logits.
        teacher: Vec<usize>,
        /// Rows of the batch.
        rows: usize,
        /// Classes of the student.
        classes: usize,
    },
    /// Source and target of one input that have not the same rows.
    #[error("there are {sources} sources and {targets} targets; give one target for each source")]
    RowsDiffer {
        /// Rows of the source.
        sources: usize,
        /// Rows of the target.
        targets: usize,
    },
    /// Rows that are pooled at their last end-of-sequence token, and have none or not as many as the others.
    #[error(
        "the rows have {counts:?} end-of-sequence tokens; this pooling wants at least one in each, and as many in each, as the tokenizer adds"
    )]
    EosCounts {
        /// For each row, how many it has.
        counts: Vec<i64>,
    },
    /// Sound of other sizes than the network reads.
    #[error("the sound has the shape {found:?}; this network reads [batch, {bins}, {frames}]: mel bins and frames")]
    SoundShape {
        /// Its shape.
        found: Vec<usize>,
        /// Mel bins of the network.
        bins: usize,
        /// Frames of the network.
        frames: usize,
    },
    /// Rows that may be padded, without an id to tell padding by.
    #[error(
        "the last token of {rows} rows cannot be told: the configuration has no `pad_token_id`; set it, or pass one row"
    )]
    NoPaddingToken {
        /// Rows of the batch.
        rows: usize,
    },
    /// A row whose last token that is not `pad_token_id` is padding by its mask.
    #[error(
        "row {row} would be pooled at its padding, which is not made of the network's `pad_token_id`; pad with that id"
    )]
    PooledPadding {
        /// The row of the batch.
        row: usize,
    },
    /// Nothing to read.
    #[error("the batch is empty: it has {rows} rows of {seq} tokens")]
    Empty {
        /// Rows of the batch.
        rows: usize,
        /// Tokens a row.
        seq: usize,
    },
}

impl InputError {
    /// Checks that segment ids and mask have the shape of the token ids, and that rows are one text each.
    ///
    /// # Errors
    /// [`InputError::ShapeMismatch`], [`InputError::Packed`].
    pub fn check_shapes(input: &TextInput) -> Result<(), InputError> {
        input.check_same_shapes()?;
        if input.documents.is_some() { Err(Self::Packed) } else { Ok(()) }
    }

    /// Checks the shapes of an input whose rows may be packed, that mask and documents say the same of padding, and that
    /// `max` positions suffice for each document.
    ///
    /// # Errors
    /// [`InputError::ShapeMismatch`], [`InputError::BadDocument`], [`InputError::TooLong`], [`InputError::Empty`].
    pub fn check_documents(input: &TextInput, max: usize) -> Result<(), InputError> {
        input.check_same_shapes()?;
        let Some(documents) = &input.documents else { return Self::check_length(&input.ids, max) };
        Self::check_length(&input.ids, usize::MAX)?;
        let (documents, real) = (documents.to_data(), input.mask.to_data());
        let differ =
            documents.iter::<i64>().zip(real.iter::<bool>()).position(|(document, real)| (document != 0) != real);
        if let Some(at) = differ {
            let [_, seq] = input.ids.dims();
            return Err(Self::BadDocument { row: at / seq, place: at % seq });
        }
        match input.longest_document() {
            found if found > max => Err(Self::TooLong { found, max }),
            _ => Ok(()),
        }
    }

    /// Checks `[batch, seq]` ids against the number of positions.
    ///
    /// # Errors
    /// [`InputError::TooLong`], [`InputError::Empty`].
    pub fn check_length(ids: &Tensor<2, Int>, max: usize) -> Result<(), InputError> {
        match ids.dims() {
            [rows, seq] if rows == 0 || seq == 0 => Err(Self::Empty { rows, seq }),
            [_, found] if found > max => Err(Self::TooLong { found, max }),
            _ => Ok(()),
        }
    }

    /// Checks that every id is an entry of a table.
    ///
    /// # Errors
    /// [`InputError::IdOutOfRange`].
    pub fn check_ids<const D: usize>(
        kind: &'static str,
        ids: &Tensor<D, Int>,
        entries: usize,
    ) -> Result<(), InputError> {
        outside(ids, entries).map_or(Ok(()), |id| Err(Self::IdOutOfRange { kind, id, entries }))
    }

    /// Checks class indices `[rows]` against the number of classes.
    ///
    /// # Errors
    /// [`InputError::ClassOutOfRange`].
    pub fn check_classes(labels: &Tensor<1, Int>, classes: usize) -> Result<(), InputError> {
        Self::check_classes_except(labels, classes, None)
    }

    /// As [`check_classes`](Self::check_classes), where `ignored` is allowed too.
    ///
    /// # Errors
    /// [`InputError::ClassOutOfRange`].
    pub fn check_classes_except(
        labels: &Tensor<1, Int>,
        classes: usize,
        ignored: Option<i64>,
    ) -> Result<(), InputError> {
        let outside = |class: &i64| (*class < 0 || *class >= classes as i64) && Some(*class) != ignored;
        let class = labels.to_data().iter::<i64>().find(outside);
        class.map_or(Ok(()), |class| Err(Self::ClassOutOfRange { class, classes }))
    }
}

/// The first value that is not in `0..entries`.
fn outside<const D: usize>(values: &Tensor<D, Int>, entries: usize) -> Option<i64> {
    values.to_data().iter::<i64>().find(|value| *value < 0 || *value >= entries as i64)
}
