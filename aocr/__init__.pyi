from aocr.config import ModelConfig as ModelConfig
from aocr.config import ReadConfig as ReadConfig
from aocr.config import TrainConfig as TrainConfig
from aocr.data.command import dataset as dataset
from aocr.errors import AocrError as AocrError
from aocr.exchange.command import export as export
from aocr.reading.command import test as test
from aocr.reading.predictor import Predictor as Predictor
from aocr.reading.predictor import load as load
from aocr.results import Prediction as Prediction
from aocr.text.charset import Charset as Charset
from aocr.training.command import train as train

__version__: str
