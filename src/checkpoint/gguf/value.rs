//! Values of metadata.

use serde_json::Value;

use super::Fault;
use crate::checkpoint::cursor::Cursor;

const TEXT: u32 = 8;
const LIST: u32 = 9;

pub(super) fn text<'a>(input: &mut Cursor<'a>) -> Result<&'a str, Fault> {
    let length = input.u64()?;
    Ok(input.text(length)?)
}

/// A value of a kind that the file names by its number.
pub(super) fn read(input: &mut Cursor<'_>, kind: u32) -> Result<Value, Fault> {
    match kind {
        LIST => list(input),
        _ => single(input, kind),
    }
}

fn list(input: &mut Cursor<'_>) -> Result<Value, Fault> {
    let (kind, count) = (input.u32()?, input.u64()?);
    if kind == LIST {
        return Err(Fault::Unsupported("a list in the metadata", "a list of lists".into(), "a list of single values"));
    }
    let mut items = vec![];
    for _ in 0..count {
        items.push(single(input, kind)?);
    }
    Ok(items.into())
}

fn single(input: &mut Cursor<'_>, kind: u32) -> Result<Value, Fault> {
    Ok(match kind {
        0 => input.u8()?.into(),
        1 => input.u8()?.cast_signed().into(),
        2 => input.u16()?.into(),
        3 => input.u16()?.cast_signed().into(),
        4 => input.u32()?.into(),
        5 => input.u32()?.cast_signed().into(),
        6 => f32::from_le_bytes(input.array()?).into(),
        7 => match input.u8()? {
            0 => false.into(),
            1 => true.into(),
            other => return Err(Fault::Damaged(format!("its metadata holds the boolean {other}"))),
        },
        TEXT => text(input)?.into(),
        10 => input.u64()?.into(),
        11 => input.u64()?.cast_signed().into(),
        12 => f64::from_le_bytes(input.array()?).into(),
        _ => return Err(Fault::Damaged(format!("its metadata holds a value of kind {kind}, which does not exist"))),
    })
}
