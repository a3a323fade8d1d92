//! Weights in a form that the engine computes fast with.
//!
//! On a processor candle 0.10.2 multiplies with Q4_1 one number at a time, and with Q8_0 eight and more. Eight bits hold what
//! four said: the error is at most 1/254 of a block's largest weight.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::Path;

use candle_core::quantized::gguf_file::{self, Content};
use candle_core::quantized::{GgmlDType, QTensor};
use mistralrs::{Device, Result};

/// Writes a GGUF file again, its Q4_1 weights as Q8_0 and all else as it is. The same file gives the same bytes everywhere.
///
/// # Errors
/// When one can't be read, or the other written.
pub fn widen(from: &Path, to: &Path) -> io::Result<()> {
    rewrite(from, to).map_err(io::Error::other)
}

fn rewrite(from: &Path, to: &Path) -> Result<()> {
    let mut reader = BufReader::new(File::open(from)?);
    let content = Content::read(&mut reader)?;
    // In the order of their names: that of a hash map differs each time.
    let mut tensors = BTreeMap::new();
    for name in content.tensor_infos.keys() {
        tensors.insert(name.as_str(), widened(content.tensor(&mut reader, name, &Device::Cpu)?)?);
    }
    let tensors: Vec<_> = tensors.iter().map(|(name, tensor)| (*name, tensor)).collect();
    let metadata: BTreeMap<_, _> = content.metadata.iter().map(|(name, value)| (name.as_str(), value)).collect();
    let mut writer = BufWriter::new(File::create(to)?);
    gguf_file::write(&mut writer, &Vec::from_iter(metadata), &tensors)?;
    writer.flush()?;
    Ok(())
}

fn widened(tensor: QTensor) -> Result<QTensor> {
    match tensor.dtype() {
        GgmlDType::Q4_1 => QTensor::quantize(&tensor.dequantize(&Device::Cpu)?, GgmlDType::Q8_0),
        _ => Ok(tensor),
    }
}

#[cfg(test)]
mod tests {
    use gguf_file::Value;
    use mistralrs::Tensor;

    use super::*;

    #[test]
    fn weights_of_four_bits_get_eight_and_nothing_else_changes() {
        let folder = std::env::temp_dir().join(format!("widen-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir(&folder).unwrap();
        let (from, to, again) = (folder.join("from"), folder.join("to"), folder.join("again"));
        let weights: Vec<f32> = (0..256).map(|number| (number as f32 * 0.7).sin()).collect();
        let weights = Tensor::from_vec(weights, (4, 64), &Device::Cpu).unwrap();
        let narrow = QTensor::quantize(&weights, GgmlDType::Q4_1).unwrap();
        let plain = QTensor::quantize(&weights, GgmlDType::F32).unwrap();
        let (name, length) = (Value::String("tiny".to_owned()), Value::U32(64));
        let metadata = [("general.name", &name), ("tiny.context_length", &length)];
        let mut writer = File::create(&from).unwrap();
        gguf_file::write(&mut writer, &metadata, &[("norm", &plain), ("narrow", &narrow)]).unwrap();

        widen(&from, &to).unwrap();
        widen(&from, &again).unwrap();
        assert_eq!(std::fs::read(&to).unwrap(), std::fs::read(&again).unwrap());
        let mut reader = File::open(&to).unwrap();
        let content = Content::read(&mut reader).unwrap();
        assert_eq!(content.metadata["general.name"].to_string().unwrap(), "tiny");
        assert_eq!(content.metadata["tiny.context_length"].to_u32().unwrap(), 64);
        let read = |reader: &mut File, name| content.tensor(reader, name, &Device::Cpu).unwrap();
        let (wide, same) = (read(&mut reader, "narrow"), read(&mut reader, "norm"));
        assert_eq!((wide.dtype(), same.dtype()), (GgmlDType::Q8_0, GgmlDType::F32));
        assert_eq!(same.data().unwrap(), plain.data().unwrap());
        let values = |tensor: &QTensor| {
            tensor.dequantize(&Device::Cpu).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        for (before, after) in values(&narrow).into_iter().zip(values(&wide)) {
            // Half a step, and what the scale loses as a number of 16 bits.
            assert!((before - after).abs() <= 1.1 / 254.0 + 0.001, "{before} {after}");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
