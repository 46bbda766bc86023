//! Inner joins of two streams by a key, without end: what has come is kept for what is still to come.

use std::marker::PhantomData;

use highwater::prelude::*;
use highwater::{Record, state::Key};

/// A row of one of the two.
#[derive(Clone, Debug, Data)]
pub(super) enum Side<L, R> {
    Left(L),
    Right(R),
}

/// What has come of a key.
#[derive(KeyedState)]
pub(super) struct Sides<L: Data, R: Data> {
    left: ListState<L>,
    right: ListState<R>,
}

/// Emits `row` of each pair of rows of a key, when the second of them comes.
pub(super) struct Join<L, R, F> {
    row: F,
    sides: PhantomData<fn() -> (L, R)>,
}

impl<L, R, F> Join<L, R, F> {
    pub fn new<Out>(row: F) -> Self
    where
        F: Fn(&L, &R) -> Out,
    {
        Join { row, sides: PhantomData }
    }
}

impl<L, R, F: Clone> Clone for Join<L, R, F> {
    fn clone(&self) -> Self {
        Join { row: self.row.clone(), sides: PhantomData }
    }
}

impl<K, L, R, F, Out> KeyedProcessFunction<K, (K, Side<L, R>)> for Join<L, R, F>
where
    K: Key,
    L: Data,
    R: Data,
    F: Fn(&L, &R) -> Out + Clone + Send + Sync + 'static,
    Out: Record,
{
    type State = Sides<L, R>;
    type Out = Out;

    fn process(
        &mut self,
        (_, side): (K, Side<L, R>),
        sides: &mut Sides<L, R>,
        context: &mut Context<'_, K, Out>,
    ) -> UserResult {
        match side {
            Side::Left(left) => {
                sides.right.iter().for_each(|right| context.collect((self.row)(&left, right)));
                sides.left.add(left);
            }
            Side::Right(right) => {
                sides.left.iter().for_each(|left| context.collect((self.row)(left, &right)));
                sides.right.add(right);
            }
        }
        Ok(())
    }
}
