use burn::tensor::{Device, Tensor, TensorData};

/// Keys' kernel with the parameter that PyTorch takes.
const SHARPNESS: f64 = -0.75;

/// Resizes a grid of vectors bicubically ([Keys, 1981](https://doi.org/10.1109/TASSP.1981.1163711)), as
/// `torch.nn.functional.interpolate(mode="bicubic", align_corners=False)` does: `[height, width, hidden]` to
/// `[to[0], to[1], hidden]`. Places beyond the edge repeat it; there is no smoothing where the grid becomes smaller.
///
/// As two products with small matrices, so that every device computes the same and its gradient is exact.
pub fn resize_bicubic(grid: Tensor<3>, to: [usize; 2]) -> Tensor<3> {
    let [height, width, hidden] = grid.dims();
    let device = grid.device().inner();
    let rows = taps(height, to[0], &device).matmul(grid.reshape([height, width * hidden]));
    let columns = taps(width, to[1], &device).unsqueeze::<3>();
    columns.expand([to[0], to[1], width]).matmul(rows.reshape([to[0], width, hidden]))
}

/// The share that each of `from` places has in each of `to`, `[to, from]`.
fn taps(from: usize, to: usize, device: &Device) -> Tensor<2> {
    let mut shares = vec![0f32; to * from];
    let scale = from as f64 / to as f64;
    for place in 0..to {
        let at = (place as f64 + 0.5) * scale - 0.5;
        for offset in -1..=2 {
            let tap = at.floor() + f64::from(offset);
            let nearest = tap.clamp(0.0, from as f64 - 1.0) as usize;
            shares[place * from + nearest] += kernel((at - tap).abs()) as f32;
        }
    }
    Tensor::from_data(TensorData::new(shares, [to, from]), device)
}

/// The weight of a place at this distance, below 2.
fn kernel(distance: f64) -> f64 {
    let (a, x) = (SHARPNESS, distance);
    match x <= 1.0 {
        true => ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0,
        false => ((x - 5.0) * x + 8.0) * x * a - 4.0 * a,
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;

    fn values(tensor: Tensor<3>) -> Vec<f32> {
        tensor.into_data().iter::<f32>().collect()
    }

    #[test]
    fn two_places_become_four_as_in_pytorch() {
        let grid = Tensor::<3>::from_data([[[0.0], [1.0]]], &Device::flex());
        // torch: interpolate(tensor([[[[0., 1.]]]]), size=(1, 4), mode="bicubic", align_corners=False)
        let expected = [-0.105_468_75, 0.226_562_5, 0.773_437_5, 1.105_468_8];
        let resized = values(resize_bicubic(grid, [1, 4]));
        assert!(resized.iter().zip(expected).all(|(found, wanted)| (found - wanted).abs() < 1e-6), "{resized:?}");
    }

    #[test]
    fn the_same_size_keeps_every_bit() {
        let grid = Tensor::<3>::from_data([[[0.1, 2.0], [0.3, -7.0]], [[5.5, 0.7], [9.1, 1.3]]], &Device::flex());
        assert_eq!(values(resize_bicubic(grid.clone(), [2, 2])), values(grid));
    }
}
