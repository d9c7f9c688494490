"""Packaging of aocr. Tool settings are in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "([^"]+)"', (HERE / "aocr/__init__.py").read_text("utf-8"))[1]

setup(
    name="aocr",
    version=VERSION,
    description="Attention OCR: train a word reader on your own images, and run it.",
    long_description=(HERE / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    license_files=["LICENSE"],
    packages=find_packages(include=["aocr", "aocr.*"]),
    package_data={
        "aocr": ["py.typed", "*.pyi"],
        "aocr.folder": ["box/*"],
        "aocr.report": ["page.html"],
        "aocr.serving": ["pages/*"],
        "aocr.synth": ["styles.toml"],
        "aocr.synth.fonts": ["names.toml"],
        "aocr.synth.texts": ["english.toml", "words.txt.xz", "words-copyright.txt"],
    },
    python_requires=">=3.11",
    install_requires=(HERE / "requirements.txt").read_text("utf-8").split(),
    extras_require={
        "test": ["pytest>=8", "pytest-xdist>=3.6", "lxml>=5", "lmdb>=1.4"],
        "gcs": ["tensorflow[gcs-filesystem]"],
        "onnx": ["onnx>=1.16", "onnxruntime>=1.17"],
        "openvino": ["openvino>=2025.0"],
        "lmdb": ["lmdb>=1.4"],
        "litert": ["ai-edge-litert>=2.0"],
        "serve": ["aiohttp>=3.13.3"],
    },
    entry_points={"console_scripts": ["aocr = aocr.__main__:run"]},
    author="the aocr authors",
    keywords=["ocr", "attention", "tensorflow", "captcha", "number plates", "tfrecords"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: MacOS",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
)
