"""Foreign models that libraries build from a configuration: small ones of every family.

Hugging Face transformers and diffusers, segmentation_models_pytorch, ultralytics.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

_TOKENS = {
    "vocab_size": 100,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
}
_PATCHES = {name: value for name, value in _TOKENS.items() if name != "vocab_size"}
_CAUSAL = {**_TOKENS, "use_cache": False}
_IMAGE = {"image_size": 64, "patch_size": 16, **_PATCHES}
_STAGES = {"hidden_sizes": [16, 32, 64, 128], "depths": [1, 1, 2, 1]}
_T5 = {"vocab_size": 100, "d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4}

# name: model class, configuration class, configuration, shapes of the inputs.
_TRANSFORMERS: Mapping[str, tuple[str, str, Mapping[str, Any], str]] = {
    "bert": ("BertForSequenceClassification", "BertConfig", _TOKENS, "ids:16"),
    "distilbert": (
        "DistilBertModel",
        "DistilBertConfig",
        {"vocab_size": 100, "dim": 64, "n_layers": 2, "n_heads": 4, "hidden_dim": 128},
        "ids:16",
    ),
    "albert": ("AlbertModel", "AlbertConfig", {"embedding_size": 32, **_TOKENS}, "ids:16"),
    "electra": ("ElectraModel", "ElectraConfig", {"embedding_size": 32, **_TOKENS}, "ids:16"),
    "roberta": ("RobertaModel", "RobertaConfig", _TOKENS, "ids:16"),
    "deberta_v2": ("DebertaV2Model", "DebertaV2Config", _TOKENS, "ids:16"),
    "mobilebert": (
        "MobileBertModel",
        "MobileBertConfig",
        {"vocab_size": 100, "num_hidden_layers": 2},
        "ids:16",
    ),
    "gpt2": (
        "GPT2LMHeadModel",
        "GPT2Config",
        {"vocab_size": 100, "n_embd": 64, "n_layer": 2, "n_head": 4, "use_cache": False},
        "ids:16",
    ),
    "llama": ("LlamaForCausalLM", "LlamaConfig", {"num_key_value_heads": 2, **_CAUSAL}, "ids:16"),
    "qwen2": ("Qwen2ForCausalLM", "Qwen2Config", {"num_key_value_heads": 2, **_CAUSAL}, "ids:16"),
    "gpt_neox": ("GPTNeoXForCausalLM", "GPTNeoXConfig", _CAUSAL, "ids:16"),
    "opt": (
        "OPTForCausalLM",
        "OPTConfig",
        {
            "vocab_size": 100,
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "ffn_dim": 128,
            "word_embed_proj_dim": 64,
            "use_cache": False,
        },
        "ids:16",
    ),
    "t5_encoder": ("T5EncoderModel", "T5Config", _T5, "ids:16"),
    "mamba": (
        "MambaModel",
        "MambaConfig",
        {
            "vocab_size": 100,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "state_size": 4,
            "use_cache": False,
        },
        "ids:16",
    ),
    "vit": ("ViTForImageClassification", "ViTConfig", _IMAGE, "3,64,64"),
    "deit": ("DeiTModel", "DeiTConfig", _IMAGE, "3,64,64"),
    "dinov2": (
        "Dinov2Model",
        "Dinov2Config",
        {
            "image_size": 56,
            "patch_size": 14,
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
        },
        "3,56,56",
    ),
    "swin": (
        "SwinModel",
        "SwinConfig",
        {
            "image_size": 64,
            "embed_dim": 32,
            "depths": [2, 2],
            "num_heads": [2, 4],
            "window_size": 4,
        },
        "3,64,64",
    ),
    "segformer": (
        "SegformerForSemanticSegmentation",
        "SegformerConfig",
        {"depths": [1, 1, 1, 1]},
        "3,64,64",
    ),
    "convnext": ("ConvNextModel", "ConvNextConfig", _STAGES, "3,64,64"),
    "mobilevit": ("MobileViTModel", "MobileViTConfig", {"image_size": 64}, "3,64,64"),
    "yolos": (
        "YolosForObjectDetection",
        "YolosConfig",
        {"num_detection_tokens": 10, **_IMAGE, "image_size": [64, 64]},
        "3,64,64",
    ),
    "clip_vision": ("CLIPVisionModel", "CLIPVisionConfig", _IMAGE, "3,64,64"),
    "clip_text": (
        "CLIPTextModel",
        "CLIPTextConfig",
        {**_TOKENS, "eos_token_id": 1, "max_position_embeddings": 32},
        "ids:16",
    ),
    "wav2vec2": (
        "Wav2Vec2Model",
        "Wav2Vec2Config",
        {
            **_PATCHES,
            "conv_dim": (32, 32, 32),
            "conv_kernel": (10, 3, 3),
            "conv_stride": (5, 2, 2),
            "num_feat_extract_layers": 3,
            "num_conv_pos_embeddings": 16,
            "num_conv_pos_embedding_groups": 4,
        },
        "1600",
    ),
    "dpt": (
        "DPTForDepthEstimation",
        "DPTConfig",
        {
            **_IMAGE,
            "num_hidden_layers": 4,
            "backbone_out_indices": [0, 1, 2, 3],
            "neck_hidden_sizes": [16, 32, 64, 64],
            "fusion_hidden_size": 32,
        },
        "3,64,64",
    ),
    "timesformer": (
        "TimesformerModel",
        "TimesformerConfig",
        {**_IMAGE, "image_size": 32, "num_frames": 4},
        "4,3,32,32",
    ),
    "videomae": (
        "VideoMAEForVideoClassification",
        "VideoMAEConfig",
        {**_IMAGE, "image_size": 32, "num_frames": 4},
        "4,3,32,32",
    ),
    "patchtst": (
        "PatchTSTForPrediction",
        "PatchTSTConfig",
        {
            "num_input_channels": 3,
            "context_length": 32,
            "patch_length": 8,
            "patch_stride": 8,
            "d_model": 32,
            "num_attention_heads": 4,
            "ffn_dim": 64,
            "num_hidden_layers": 2,
            "prediction_length": 8,
        },
        "32,3",
    ),
    "sam_vision": (
        "SamVisionModel",
        "SamVisionConfig",
        {
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": 64,
            "patch_size": 16,
            "output_channels": 32,
            "global_attn_indexes": [1],
            "window_size": 2,
        },
        "3,64,64",
    ),
}

_UNETS = (
    "Unet UnetPlusPlus Linknet FPN PSPNet DeepLabV3 DeepLabV3Plus PAN MAnet UPerNet Segformer"
).split()
_YOLOS = "yolov5n yolov8n yolov9t yolov10n yolo11n yolo12n".split()


def list_small_models() -> tuple[tuple[str, str, str], ...]:
    """Return (library, name, shapes of the inputs) of every model."""
    return (
        *(("transformers", name, row[3]) for name, row in _TRANSFORMERS.items()),
        *(("smp", name, "3,128,128") for name in _UNETS),
        *(("ultralytics", name, "3,128,128") for name in _YOLOS),
        ("diffusers", "AutoencoderKL", "3,32,32"),
    )


def _build_transformers(name: str) -> nn.Module:
    library: Any = importlib.import_module("transformers")
    model, configuration, settings, _ = _TRANSFORMERS[name]
    module: nn.Module = getattr(library, model)(getattr(library, configuration)(**settings))
    return module


def _build_unet(name: str) -> nn.Module:
    library: Any = importlib.import_module("segmentation_models_pytorch")
    module: nn.Module = getattr(library, name)("resnet18", encoder_weights=None)
    return module


def _build_yolo(name: str) -> nn.Module:
    library: Any = importlib.import_module("ultralytics.nn.tasks")
    module: nn.Module = library.DetectionModel(f"{name}.yaml", verbose=False)
    return module


def _build_diffusers(name: str) -> nn.Module:
    library: Any = importlib.import_module("diffusers")
    module: nn.Module = getattr(library, name)(
        block_out_channels=(32, 64),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=8,
    )
    return module


SMALL_BUILDERS: Mapping[str, Callable[[str], nn.Module]] = {
    "transformers": _build_transformers,
    "smp": _build_unet,
    "ultralytics": _build_yolo,
    "diffusers": _build_diffusers,
}
