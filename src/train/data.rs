/// The examples of a run.
#[derive(Debug)]
pub struct Data<'a, E> {
    /// To train on.
    pub train: &'a [E],
    /// To measure on during the run; may be empty.
    pub validation: &'a [E],
}

// By hand, for what is copied is where the examples are, not they.
impl<E> Clone for Data<'_, E> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<E> Copy for Data<'_, E> {}
