//! The blocks of GGUF: some values that share a scale. Layouts are those of ggml's `ggml-common.h`.

use half::f16;

/// From the bytes of a block to its values.
type Decode = fn(&[u8], &mut [f32]);

/// A layout of blocks, by the name that ggml gives it.
#[derive(Debug)]
pub struct Block {
    /// Its name, such as `Q4_K`.
    pub name: &'static str,
    /// Its number in files.
    pub(super) id: u32,
    /// Values of a block.
    pub(super) values: usize,
    /// Bytes of a block.
    pub(super) bytes: usize,
    /// Turns one block into its values; `None` for a layout that is known by its size only.
    pub(super) decode: Option<Decode>,
}

impl PartialEq for Block {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

const fn known(id: u32, name: &'static str, values: usize, bytes: usize) -> Block {
    Block { name, id, values, bytes, decode: None }
}

const fn read(id: u32, name: &'static str, values: usize, bytes: usize, decode: Decode) -> Block {
    Block { name, id, values, bytes, decode: Some(decode) }
}

/// The layouts of ggml. Sizes of those that are not read are needed to check where tensors lie.
pub(super) static BLOCKS: [Block; 26] = [
    read(2, "Q4_0", 32, 18, q4_0),
    read(3, "Q4_1", 32, 20, q4_1),
    read(6, "Q5_0", 32, 22, q5_0),
    read(7, "Q5_1", 32, 24, q5_1),
    read(8, "Q8_0", 32, 34, q8_0),
    known(9, "Q8_1", 32, 40),
    read(10, "Q2_K", 256, 84, q2_k),
    read(11, "Q3_K", 256, 110, q3_k),
    read(12, "Q4_K", 256, 144, q4_k),
    read(13, "Q5_K", 256, 176, q5_k),
    read(14, "Q6_K", 256, 210, q6_k),
    known(15, "Q8_K", 256, 292),
    known(16, "IQ2_XXS", 256, 66),
    known(17, "IQ2_XS", 256, 74),
    known(18, "IQ3_XXS", 256, 98),
    known(19, "IQ1_S", 256, 50),
    read(20, "IQ4_NL", 32, 18, iq4_nl),
    known(21, "IQ3_S", 256, 110),
    known(22, "IQ2_S", 256, 82),
    read(23, "IQ4_XS", 256, 136, iq4_xs),
    known(29, "IQ1_M", 256, 56),
    known(34, "TQ1_0", 256, 54),
    known(35, "TQ2_0", 256, 66),
    known(39, "MXFP4", 32, 17),
    known(40, "NVFP4", 64, 36),
    known(41, "Q1_0", 128, 18),
];

fn half(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

/// A scale and 32 whole numbers of a byte.
fn q8_0(block: &[u8], values: &mut [f32]) {
    let scale = half(block, 0);
    values.iter_mut().zip(&block[2..]).for_each(|(value, byte)| *value = scale * f32::from(byte.cast_signed()));
}

/// A scale and 32 numbers of 4 bits, of which 8 stands for 0: the lower halves of 16 bytes, then the upper ones.
fn q4_0(block: &[u8], values: &mut [f32]) {
    let scale = half(block, 0);
    nibbles(&block[2..], values, |number| scale * (number - 8.0));
}

/// As `q4_0`, with a smallest value in place of the 8.
fn q4_1(block: &[u8], values: &mut [f32]) {
    let (scale, least) = (half(block, 0), half(block, 2));
    nibbles(&block[4..], values, |number| scale * number + least);
}

fn nibbles(bytes: &[u8], values: &mut [f32], value: impl Fn(f32) -> f32) {
    let (low, high) = values.split_at_mut(bytes.len());
    for ((low, high), byte) in low.iter_mut().zip(high).zip(bytes) {
        *low = value(f32::from(byte & 15));
        *high = value(f32::from(byte >> 4));
    }
}

/// As `q4_0`, with fifth bits in 4 bytes of their own, so that 16 stands for 0.
fn q5_0(block: &[u8], values: &mut [f32]) {
    let scale = half(block, 0);
    five_bits(&block[2..], values, |number| scale * (number - 16.0));
}

/// As `q5_0`, with a smallest value in place of the 16.
fn q5_1(block: &[u8], values: &mut [f32]) {
    let (scale, least) = (half(block, 0), half(block, 2));
    five_bits(&block[4..], values, |number| scale * number + least);
}

fn five_bits(bytes: &[u8], values: &mut [f32], value: impl Fn(f32) -> f32) {
    let fifth = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    nibbles(&bytes[4..], values, |number| number);
    for (place, number) in values.iter_mut().enumerate() {
        let bit = (fifth >> place & 1) as u8;
        *number = value(*number + f32::from(bit << 4));
    }
}

/// What the 16 numbers of 4 bits of a table stand for.
const STEPS: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// A scale and 32 numbers of 4 bits that stand for steps of a table.
fn iq4_nl(block: &[u8], values: &mut [f32]) {
    let scale = half(block, 0);
    nibbles(&block[2..], values, |number| scale * step(number));
}

fn step(number: f32) -> f32 {
    f32::from(STEPS[number as usize & 15])
}

/// 8 groups of 32 numbers as in `iq4_nl`; each group has a scale of 6 bits, of which 32 stands for 0.
fn iq4_xs(block: &[u8], values: &mut [f32]) {
    let scale = half(block, 0);
    let upper = u16::from_le_bytes([block[2], block[3]]);
    for (group, values) in values.chunks_mut(32).enumerate() {
        let (low, high) = (block[4 + group / 2] >> (group % 2 * 4) & 15, (upper >> (2 * group) & 3) as u8);
        let factor = scale * (f32::from(low | high << 4) - 32.0);
        nibbles(&block[8 + group * 16..][..16], values, |number| factor * step(number));
    }
}

/// 16 groups of 16 numbers of 2 bits; each group has a scale and a least value of 4 bits, which have scales themselves.
fn q2_k(block: &[u8], values: &mut [f32]) {
    let (scale, least) = (half(block, 80), half(block, 82));
    for (group, values) in values.chunks_mut(16).enumerate() {
        let own = block[group];
        let (factor, offset) = (scale * f32::from(own & 15), least * f32::from(own >> 4));
        for (column, value) in values.iter_mut().enumerate() {
            *value = factor * f32::from(two_bits(&block[16..80], group * 16 + column)) - offset;
        }
    }
}

/// As `q2_k`, with third bits in 32 bytes of their own, so that 4 stands for 0, and scales of 6 bits, of which 32 does.
fn q3_k(block: &[u8], values: &mut [f32]) {
    let (third, own, scale) = (&block[..32], &block[96..108], half(block, 108));
    for (group, values) in values.chunks_mut(16).enumerate() {
        let (low, high) = (own[group % 8] >> (group / 8 * 4) & 15, own[8 + group % 4] >> (group / 4 * 2) & 3);
        let factor = scale * (f32::from(low | high << 4) - 32.0);
        for (column, value) in values.iter_mut().enumerate() {
            let place = group * 16 + column;
            let bit = third[place % 32] >> (place / 32) & 1;
            *value = factor * (f32::from(two_bits(&block[32..96], place) | bit << 2) - 4.0);
        }
    }
}

/// The number at a place: half a block is 128 values, four runs of 32 that share 32 bytes.
fn two_bits(bytes: &[u8], place: usize) -> u8 {
    let (part, run, column) = (place / 128, place % 128 / 32, place % 32);
    bytes[part * 32 + column] >> (run * 2) & 3
}

/// The scale and the least value of each of 8 groups, 6 bits each, in 12 bytes.
fn scales(bytes: &[u8], group: usize) -> (f32, f32) {
    let (scale, least) = match group {
        0..4 => (bytes[group] & 63, bytes[group + 4] & 63),
        _ => {
            let (low, both) = (group - 4, bytes[group + 4]);
            ((both & 15) | (bytes[low] >> 6 << 4), (both >> 4) | (bytes[low + 4] >> 6 << 4))
        }
    };
    (f32::from(scale), f32::from(least))
}

/// 8 groups of 32 numbers of 4 bits; each group has a scale and a least value, which have scales themselves.
fn q4_k(block: &[u8], values: &mut [f32]) {
    let (scale, least) = (half(block, 0), half(block, 2));
    for (group, values) in values.chunks_mut(32).enumerate() {
        let (own_scale, own_least) = scales(&block[4..16], group);
        let (factor, offset) = (scale * own_scale, least * own_least);
        let bytes = &block[16 + group / 2 * 32..];
        let shift = group % 2 * 4;
        values.iter_mut().zip(bytes).for_each(|(value, byte)| *value = factor * f32::from(byte >> shift & 15) - offset);
    }
}

/// As `q4_k`, with fifth bits in 32 bytes of their own, one bit of each byte for each group.
fn q5_k(block: &[u8], values: &mut [f32]) {
    let (scale, least) = (half(block, 0), half(block, 2));
    for (group, values) in values.chunks_mut(32).enumerate() {
        let (own_scale, own_least) = scales(&block[4..16], group);
        let (factor, offset) = (scale * own_scale, least * own_least);
        let (fifth, bytes) = (&block[16..48], &block[48 + group / 2 * 32..]);
        let shift = group % 2 * 4;
        for ((value, byte), fifth) in values.iter_mut().zip(bytes).zip(fifth) {
            let number = byte >> shift & 15 | (fifth >> group & 1) << 4;
            *value = factor * f32::from(number) - offset;
        }
    }
}

/// 16 groups of 16 numbers of 6 bits, of which 32 stands for 0; each group has a scale of a byte.
fn q6_k(block: &[u8], values: &mut [f32]) {
    let (low, high, own) = (&block[..128], &block[128..192], &block[192..208]);
    let scale = half(block, 208);
    for (place, value) in values.iter_mut().enumerate() {
        // Half a block is 128 values: four runs of 32 that share 64 lower and 32 upper bytes.
        let (part, run, column) = (place / 128, place % 128 / 32, place % 32);
        let lower = low[part * 64 + run % 2 * 32 + column] >> (run / 2 * 4) & 15;
        let upper = high[part * 32 + column] >> (run * 2) & 3;
        let number = f32::from(lower | upper << 4) - 32.0;
        *value = scale * f32::from(own[place / 16].cast_signed()) * number;
    }
}
