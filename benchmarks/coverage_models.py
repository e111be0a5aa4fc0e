"""The foreign models of the coverage benchmark, family by family.

timm, torchvision and pytorchcv are listed here, what libraries configure in coverage_small_models.

One or two models stand for a family, the smallest ones that have the family's structure. Inputs are
as small as the architecture allows.
"""

from __future__ import annotations

import importlib
import logging
import sys
import types
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from coverage_small_models import SMALL_BUILDERS, list_small_models
from torch import Tensor, nn

# name[@shape[;shape...]], shapes without the batch axis; the default shape is the line's.
_TIMM = {
    "3,128,128": """
    byobnet:repvgg_a0 byobnet:gernet_s byobnet:mobileone_s0 byoanet:eca_halonext26ts@3,256,256
    byoanet:lambda_resnet26t@3,256,256 byoanet:eca_botnext26ts_256@3,256,256
    byoanet:gcresnext26ts convmixer:convmixer_768_32 convnext:convnext_atto
    convnext:convnext_atto_rms convnext:convnextv2_atto convnext:convnext_zepto_rms
    cpubone:cpubone_nano csatv2:csatv2@3,256,256
    cspnet:cs3darknet_focus_s cspnet:cspresnet50 cspnet:cspresnext50 cspnet:darknet53
    cspnext:cspnext_tiny densenet:densenet121 densenet:densenetblur121d dla:dla34 dla:dla46x_c
    dpn:dpn68 edgenext:edgenext_xx_small efficientnet:efficientnet_b0 efficientnet:tf_mixnet_s
    efficientnet:mobilenetv2_050 efficientnet:mnasnet_small efficientnet:efficientnetv2_rw_t
    efficientnet:tinynet_e efficientnet:fbnetc_100 efficientnet:spnasnet_100
    efficientvim:efficientvim_m1@3,224,224 efficientvit_mit:efficientvit_b0
    fasternet:fasternet_t0 fastvit:fastvit_t8@3,256,256 focalnet:focalnet_tiny_srf
    ghostnet:ghostnet_050 ghostnet:ghostnetv2_100 ghostnet:ghostnetv3_050 hardcorenas:hardcorenas_a
    hgnet:hgnetv2_b0 hrnet:hrnet_w18_small iformer:iformer_t@3,224,224
    inception_next:inception_next_atto inception_resnet_v2:inception_resnet_v2@3,160,160
    inception_v3:inception_v3@3,160,160 inception_v4:inception_v4@3,160,160
    lcnetv2:lcnetv2_small lowformer:lowformer_b0 mambaout:mambaout_femto
    metaformer:poolformer_s12 metaformer:poolformerv2_s12 metaformer:caformer_s18
    metaformer:convformer_s18 mobilenetv3:mobilenetv3_small_050 mobilenetv3:lcnet_050
    mobilenetv3:mobilenetv4_conv_small_035 mobilenetv3:mobilenetv4_hybrid_medium
    mobilenetv5:mobilenetv5_base@3,256,256 mobilevit:mobilevit_xxs@3,256,256
    mobilevit:mobilevitv2_050@3,256,256 nasnet:nasnetalarge@3,128,128
    nextvit:nextvit_small nfnet:nf_regnet_b0 nfnet:nf_resnet26 nfnet:dm_nfnet_f0
    pnasnet:pnasnet5large@3,128,128 pvt_v2:pvt_v2_b0 pvt_v2:pvt_v2_b2_li rdnet:rdnet_tiny
    regnet:regnetx_002 regnet:regnety_006 regnet:regnetz_005 repghost:repghostnet_050
    repvit:repvit_m0_9 res2net:res2net50_26w_4s res2net:res2next50 res2net:res2net50d
    resnest:resnest14d resnest:resnest50d_4s2x40d
    resnet:resnet18 resnet:resnet26t resnet:ecaresnet26t
    resnet:seresnet18 resnet:resnetblur18 resnet:resnetaa50 resnet:resnet50_gn
    resnet:resnext50_32x4d resnet:resnetrs50
    resnetv2:resnetv2_18 resnetv2:resnetv2_50x1_bit rexnet:rexnet_100 rexnet:rexnetr_130
    selecsls:selecsls42 senet:legacy_seresnet18 senet:legacy_seresnext26_32x4d
    sequencer:sequencer2d_s@3,224,224 shvit:shvit_s1 sknet:skresnet18 sknet:skresnext50_32x4d
    starnet:starnet_s050 tresnet:tresnet_m vgg:vgg11 vgg:vgg13_bn vovnet:ese_vovnet19b_slim_dw
    vovnet:vovnet39a xception:legacy_xception@3,160,160 xception_aligned:xception41@3,160,160
    """,
    "3,224,224": """
    beit:beit_base_patch16_224 cait:cait_xxs24_224 coat:coat_tiny coat:coat_lite_tiny
    convit:convit_tiny crossvit:crossvit_tiny_240@3,240,240 davit:davit_tiny
    deit:deit_tiny_distilled_patch16_224 deit:deit3_small_patch16_224
    efficientformer:efficientformer_l1 efficientformer_v2:efficientformerv2_s0
    efficientvit_msra:efficientvit_m0 eva:eva02_tiny_patch14_224 eva:vit_pe_core_tiny_patch16_384
    gcvit:gcvit_xxtiny hiera:hiera_tiny_224 hieradet_sam2:hieradet_small@3,256,256
    levit:levit_128s levit:levit_conv_128s maxxvit:maxvit_rmlp_pico_rw_256@3,256,256
    maxxvit:coatnet_pico_rw_224 mlp_mixer:gmixer_12_224 mlp_mixer:mixer_s16_224
    mlp_mixer:gmlp_s16_224 mlp_mixer:resmlp_12_224 mvitv2:mvitv2_tiny
    naflexvit:naflexvit_base_patch16_gap nest:nest_tiny pit:pit_xs_224 pit:pit_xs_distilled_224
    swiftformer:swiftformer_xs swin_transformer:swin_tiny_patch4_window7_224
    swin_transformer_v2:swinv2_tiny_window8_256@3,256,256 swin_transformer_v2_cr:swinv2_cr_tiny_224
    tiny_vit:tiny_vit_5m_224 tnt:tnt_s_patch16_224 twins:twins_svt_small twins:twins_pcpvt_small
    visformer:visformer_tiny vision_transformer:vit_tiny_patch16_224
    vision_transformer:test_vit@3,160,160
    vision_transformer:test_vit2@3,160,160 vision_transformer:test_vit3@3,160,160
    vision_transformer:vit_small_patch16_18x2_224
    vision_transformer:vit_wee_patch16_reg1_gap_256@3,256,256
    vision_transformer:vit_base_patch32_clip_224
    vision_transformer:vit_base_patch32_siglip_gap_256@3,256,256
    vision_transformer_hybrid:vit_tiny_r_s16_p8_224
    vision_transformer_relpos:vit_relpos_small_patch16_rpn_224
    vision_transformer_relpos:vit_srelpos_small_patch16_224
    vision_transformer_sam:samvit_base_patch16_224
    vitamin:vitamin_small_224 volo:volo_d1_224 xcit:xcit_nano_12_p16_224
    """,
}

_TORCHVISION = {
    "3,128,128": """
    alexnet:alexnet convnext:convnext_tiny densenet:densenet121 efficientnet:efficientnet_b0
    efficientnet:efficientnet_v2_s googlenet:googlenet inception_v3:inception_v3@3,160,160
    mnasnet:mnasnet0_5 mobilenetv2:mobilenet_v2 mobilenetv3:mobilenet_v3_small
    regnet:regnet_x_400mf regnet:regnet_y_400mf resnet:resnet18 resnet:resnet50
    resnet:resnext50_32x4d resnet:wide_resnet50_2 shufflenetv2:shufflenet_v2_x1_0
    squeezenet:squeezenet1_0 squeezenet:squeezenet1_1 vgg:vgg11_bn vgg:vgg16
    vision_transformer:vit_b_32@3,224,224 swin:swin_t@3,224,224 swin:swin_v2_t@3,256,256
    maxvit:maxvit_t@3,224,224 segmentation:fcn_resnet50 segmentation:deeplabv3_mobilenet_v3_large
    segmentation:deeplabv3_resnet50 segmentation:lraspp_mobilenet_v3_large
    detection:fasterrcnn_resnet50_fpn detection:fasterrcnn_mobilenet_v3_large_fpn
    detection:retinanet_resnet50_fpn_v2 detection:fcos_resnet50_fpn detection:ssd300_vgg16@3,300,300
    detection:ssdlite320_mobilenet_v3_large@3,320,320 detection:maskrcnn_resnet50_fpn_v2
    optical_flow:raft_small@3,128,128;3,128,128
    video:r3d_18@3,8,64,64 video:mc3_18@3,8,64,64 video:r2plus1d_18@3,8,64,64
    video:s3d@3,16,64,64 video:mvit_v2_s@3,16,224,224 video:swin3d_t@3,8,112,112
    """
}

_PYTORCHCV = {
    "3,224,224": """
    alexnet zfnet bn_vgg11 bninception resnet10 preresnet10
    resnext14_16x4d seresnet10 sepreresnet10 seresnext50_32x4d senet16 resnestabc14 ibn_resnet50
    ibnb_resnet50 ibn_resnext50_32x4d ibn_densenet121 airnet50_1x64d_r2 airnext50_32x4d_r2
    bam_resnet18 cbam_resnet18 resattnet56 sknet50 scnet50 scneta50 diaresnet10
    diapreresnet10 diracnet18v2 sharesnet18 condensenet74_c4_g4 sparsenet121 peleenet drnc26
    dpn68 darknet_tiny darknet53 channelnet revnet38 irevnet301 bagnet9
    dla34 dla60xc msdnet22 fishnet99 espnetv2_wd2 dicenet_wd5
    hrnet_w18_small_v1 vovnet27s selecsls42 hardnet39ds xdensenet121_2 squeezenet_v1_1
    squeezeresnet_v1_1 sqnxt23_w1 shufflenet_g1_w1 shufflenet_g3_w1 shufflenet_g8_w1
    shufflenetv2_wd2 shufflenetv2b_wd2 menet108_8x1_g3 mobilenet_wd4 fdmobilenet_wd4 mobilenetv2_wd4
    mobilenetv3_small_w7d20 igcv3_wd4 ghostnet mnasnet_small darts proxylessnas_cpu fbnet_cb
    xception@3,299,299 inceptionv3@3,299,299 inceptionv4@3,299,299 inceptionresnetv1@3,299,299
    polynet@3,331,331 nasnet_4a1056 spnasnet efficientnet_b0 efficientnet_edge_small_b mixnet_s
    resneta10 resnetd50b fastseresnet101b octresnet10_ad2 isqrtcovresnet18
    nin_cifar10@3,32,32 resnet20_cifar10@3,32,32 preresnet20_cifar10@3,32,32
    resnext20_16x4d_cifar10@3,32,32 seresnet20_cifar10@3,32,32 pyramidnet110_a48_cifar10@3,32,32
    densenet40_k12_cifar10@3,32,32 xdensenet40_2_k24_bc_cifar10@3,32,32 wrn16_10_cifar10@3,32,32
    wrn20_10_1bit_cifar10@3,32,32 ror3_56_cifar10@3,32,32 rir_cifar10@3,32,32
    msdnet22_cifar10@3,32,32 resdropresnet20_cifar10@3,32,32
    shakeshakeresnet20_2x16d_cifar10@3,32,32 shakedropresnet20_cifar10@3,32,32
    fractalnet_cifar10@3,32,32 diaresnet20_cifar10@3,32,32 ntsnet_cub@3,448,448
    fcn8sd_resnetd50b_voc@3,480,480 pspnet_resnetd50b_voc@3,480,480
    deeplabv3_resnetd50b_voc@3,480,480 icnet_resnetd50b_cityscapes@3,480,480
    fastscnn_cityscapes@3,1024,2048 cgnet_cityscapes@3,256,256 dabnet_cityscapes@3,256,256
    sinet_cityscapes@3,256,256 bisenet_resnet18_celebamaskhq@3,256,256
    danet_resnetd50b_cityscapes@3,480,480 fpenet_cityscapes@3,256,256 ctxnet_cityscapes@3,256,256
    lednet_cityscapes@3,256,256 esnet_cityscapes@3,256,256 edanet_cityscapes@3,256,256
    enet_cityscapes@3,256,256 erfnet_cityscapes@3,256,256 linknet_cityscapes@3,256,256
    segnet_cityscapes@3,256,256 unet_cityscapes@3,256,256 sqnet_cityscapes@3,256,256
    alphapose_fastseresnet101b_coco@3,256,192 simplepose_resnet18_coco@3,256,192
    simplepose_mobile_resnet18_coco@3,256,192 lwopenpose2d_mobilenet_cmupan_coco@3,128,128
    lwopenpose3d_mobilenet_cmupan_coco@3,128,128 ibppose_coco@3,256,256 prnet@3,256,256
    centernet_resnet18_voc@3,256,256 lffd20x5s320v2_widerface@3,320,320 pfpcnet@3,112,112
    visemenet20@28,448 superpointnet@1,128,128 tresnet_m espcnet_cityscapes@3,256,256
    """
}


# A dozen that take seconds each: what CI runs.
SMALL = frozenset(
    """
    pytorchcv:resnet20_cifar10 pytorchcv:densenet40_k12_cifar10 pytorchcv:seresnet20_cifar10
    pytorchcv:resnext20_16x4d_cifar10 pytorchcv:shufflenet_g3_w1 timm:mobilenetv3_small_050
    timm:test_vit timm:convnext_atto timm:resnest14d timm:levit_128s
    torchvision:shufflenet_v2_x1_0 torchvision:squeezenet1_1
    """.split()
)


@dataclass(frozen=True)
class ForeignModel:
    """One model: its library, name and family, and the shapes of its inputs without the batch."""

    source: str
    name: str
    family: str
    shapes: tuple[str, ...]

    @property
    def key(self) -> str:
        """Return "library:name", the line's identity in the results."""
        return f"{self.source}:{self.name}"


def list_models() -> tuple[ForeignModel, ...]:
    """Return every model of the benchmark."""
    models: list[ForeignModel] = []
    tables = (("timm", _TIMM), ("torchvision", _TORCHVISION), ("pytorchcv", _PYTORCHCV))
    for source, table in tables:
        for shape, words in table.items():
            for word in words.split():
                name, _, given = word.partition("@")
                family, _, plain = name.rpartition(":")
                shapes = tuple((given or shape).split(";"))
                models.append(ForeignModel(source, plain, family or plain, shapes))
    for source, name, given in list_small_models():
        models.append(ForeignModel(source, name, name, tuple(given.split(";"))))
    return tuple(models)


def build_model(model: ForeignModel) -> nn.Module:
    """Build a model with random weights, in eval mode."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    # torchvision's compiled operations do not load beside a CPU torch; its Python models do.
    sys.modules.setdefault(
        "torchvision._meta_registrations", types.ModuleType("torchvision._meta_registrations")
    )
    torch.manual_seed(0)
    if model.source in SMALL_BUILDERS:
        return SMALL_BUILDERS[model.source](model.name).eval()
    return _BUILDERS[model.source](model).eval()


def _build_timm(model: ForeignModel) -> nn.Module:
    timm: Any = importlib.import_module("timm")
    module: nn.Module = timm.create_model(model.name, pretrained=False)
    return module


def _build_torchvision(model: ForeignModel) -> nn.Module:
    library: Any = importlib.import_module("torchvision.models")
    if model.family == "detection":
        whole: Any = library.get_model(model.name, weights=None, weights_backbone=None)
        backbone: nn.Module = whole.backbone
        return backbone
    backbone_free = {"weights_backbone": None} if model.family == "segmentation" else {}
    if model.name in ("googlenet", "inception_v3"):
        backbone_free = {"init_weights": False}
    module: nn.Module = library.get_model(model.name, weights=None, **backbone_free)
    return module


def _build_pytorchcv(model: ForeignModel) -> nn.Module:
    library: Any = importlib.import_module("pytorchcv.model_provider")
    module: nn.Module = library.get_model(model.name, pretrained=False)
    return module


_BUILDERS = {
    "timm": _build_timm,
    "torchvision": _build_torchvision,
    "pytorchcv": _build_pytorchcv,
}


def make_inputs(model: ForeignModel, batch: int = 2) -> tuple[Tensor, ...]:
    """Return example inputs: normal noise, or token ids for a shape such as "ids:16"."""
    generator = torch.Generator().manual_seed(0)
    return tuple(_make_input(shape, batch, generator) for shape in model.shapes)


def _make_input(shape: str, batch: int, generator: torch.Generator) -> Tensor:
    kind, _, sizes = shape.rpartition(":")
    full = (batch, *map(int, sizes.split(",")))
    if kind == "ids":
        return torch.randint(2, 100, full, generator=generator)
    return torch.randn(full, generator=generator)
