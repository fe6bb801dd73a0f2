//! The zip archive that PyTorch writes: uncompressed entries under one folder.

use std::collections::BTreeMap;
use std::ops::Range;

use super::{Storages, ZIP, state_dict};
use crate::checkpoint::cursor::Cursor;
use crate::checkpoint::header::Header;
use crate::checkpoint::pickle::{Fault, Machine};

const END: [u8; 4] = *b"PK\x05\x06";
const END_64: [u8; 4] = *b"PK\x06\x06";
const LOCATOR_64: [u8; 4] = *b"PK\x06\x07";
const ENTRY: [u8; 4] = *b"PK\x01\x02";
/// Length of the record at the end, without its comment.
const END_BYTES: usize = 22;
const LOCATOR_BYTES: usize = 20;
/// What a field of 32 bits holds where the number stands in the 64-bit extra field.
const IN_EXTRA: u32 = u32::MAX;

pub(super) fn read(bytes: &[u8]) -> Result<Header, Fault> {
    let entries = entries(bytes)?;
    let pickle = entries.keys().filter(|name| name.ends_with("/data.pkl")).collect::<Vec<_>>();
    let [pickle] = pickle[..] else {
        let what = "no `data.pkl`, or several of them, as a zip archive of something else does";
        return Err(Fault::Refused(what.into()));
    };
    let folder = pickle.strip_suffix("data.pkl").unwrap_or_default();
    let entry = |name: &str| entries.get(&format!("{folder}{name}"));
    if entry("constants.pkl").is_some() {
        return Err(Fault::Refused("a TorchScript program".into()));
    }
    if let Some(order) = entry("byteorder").map(|range| &bytes[range.clone()]).filter(|order| *order != b"little") {
        return Err(Fault::Refused(format!("values in {} byte order", String::from_utf8_lossy(order))));
    }
    let mut input = Cursor::new(&bytes[entries[pickle].clone()]);
    let (objects, root) = Machine::default().run(&mut input)?;
    let data = format!("{folder}data/");
    let stored =
        entries.iter().filter_map(|(name, range)| Some((name.strip_prefix(&data)?.to_string(), range.clone())));
    let storages: Storages = stored.collect();
    state_dict::read(&objects, root, &storages)
}

/// The entries by name, each within the bytes.
fn entries(bytes: &[u8]) -> Result<BTreeMap<String, Range<usize>>, Fault> {
    let (count, start) = directory(bytes)?;
    let mut input = Cursor::at(bytes, start)?;
    let mut entries = BTreeMap::new();
    for _ in 0..count {
        let (name, range) = entry(bytes, &mut input)?;
        if entries.contains_key(&name) {
            return Err(Fault::Damaged(format!("the archive's entry `{name}` occurs twice")));
        }
        entries.insert(name, range);
    }
    apart(&entries)?;
    Ok(entries)
}

/// Two entries that share bytes are a trick.
fn apart(entries: &BTreeMap<String, Range<usize>>) -> Result<(), Fault> {
    let mut ranges: Vec<_> = entries.iter().filter(|(_, range)| !range.is_empty()).collect();
    ranges.sort_by_key(|(_, range)| range.start);
    match ranges.windows(2).find(|pair| pair[0].1.end > pair[1].1.start) {
        Some(pair) => Err(Fault::Damaged(format!("the archive's entries `{}` and `{}` overlap", pair[0].0, pair[1].0))),
        None => Ok(()),
    }
}

/// How many entries the directory has, and where it starts.
fn directory(bytes: &[u8]) -> Result<(u64, u64), Fault> {
    // The record at the end is followed by a comment of at most 65535 bytes.
    let tail = bytes.len().saturating_sub(END_BYTES + usize::from(u16::MAX));
    let found = bytes[tail..].windows(END.len()).rposition(|window| window == END);
    let end = tail + found.ok_or_else(|| Fault::Damaged("it is a zip archive without an end, or cut off".into()))?;
    let mut input = Cursor::at(bytes, end as u64 + 10)?;
    let (count, _size, start) = (input.u16()?, input.u32()?, input.u32()?);
    if count != u16::MAX && start != IN_EXTRA {
        return Ok((count.into(), start.into()));
    }
    let locator =
        end.checked_sub(LOCATOR_BYTES).ok_or_else(|| Fault::Damaged("its zip directory is missing".into()))?;
    let mut input = Cursor::at(bytes, locator as u64)?;
    expect(&mut input, LOCATOR_64)?;
    input.u32()?;
    let mut input = Cursor::at(bytes, input.u64()?)?;
    expect(&mut input, END_64)?;
    input.take(28)?;
    let (count, _size, start) = (input.u64()?, input.u64()?, input.u64()?);
    Ok((count, start))
}

/// One entry of the directory: its name and where its bytes are.
fn entry(bytes: &[u8], input: &mut Cursor<'_>) -> Result<(String, Range<usize>), Fault> {
    expect(input, ENTRY)?;
    input.take(4)?;
    let (flags, method) = (input.u16()?, input.u16()?);
    input.take(8)?;
    let (packed, size) = (input.u32()?, input.u32()?);
    let (name, extra, comment) = (input.u16()?, input.u16()?, input.u16()?);
    input.take(8)?;
    let offset = input.u32()?;
    let name = input.text(name.into())?.to_string();
    let mut wide = wide_fields(input.take(extra.into())?)?;
    input.take(comment.into())?;
    // The fields that are too large stand in the extra field in this order.
    let size = widen(size, &mut wide)?;
    let packed = widen(packed, &mut wide)?;
    let offset = widen(offset, &mut wide)?;
    if method != 0 || flags & 1 != 0 || size != packed {
        return Err(Fault::Refused(format!(
            "the compressed or encrypted entry `{name}`, as a TorchScript program has"
        )));
    }
    Ok((name, local(bytes, offset, size)?))
}

/// The bytes of an entry, which stand behind a header of its own.
fn local(bytes: &[u8], offset: u64, size: u64) -> Result<Range<usize>, Fault> {
    let mut input = Cursor::at(bytes, offset)?;
    expect(&mut input, ZIP)?;
    input.take(22)?;
    let (name, extra) = (input.u16()?, input.u16()?);
    input.take(u64::from(name) + u64::from(extra))?;
    let start = input.place();
    input.take(size)?;
    Ok(start..input.place())
}

/// The 64-bit extra field; empty where there is none.
fn wide_fields(extra: &[u8]) -> Result<Cursor<'_>, Fault> {
    const WIDE: u16 = 1;
    let mut input = Cursor::new(extra);
    while input.left() > 0 {
        let (id, size) = (input.u16()?, input.u16()?);
        let field = input.take(size.into())?;
        if id == WIDE {
            return Ok(Cursor::new(field));
        }
    }
    Ok(Cursor::new(&[]))
}

fn widen(field: u32, wide: &mut Cursor<'_>) -> Result<u64, Fault> {
    if field == IN_EXTRA { Ok(wide.u64()?) } else { Ok(field.into()) }
}

fn expect(input: &mut Cursor<'_>, signature: [u8; 4]) -> Result<(), Fault> {
    let place = input.place();
    match input.array()? {
        found if found == signature => Ok(()),
        found => Err(Fault::Damaged(format!("a zip record at byte {place} starts with {found:?}, not {signature:?}"))),
    }
}
