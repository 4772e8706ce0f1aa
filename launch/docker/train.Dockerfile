# Image for training and evaluation: runs launch.py.
#
#   docker build -f launch/docker/train.Dockerfile --build-arg EXTRAS=tpu,tensorboard -t REPOSITORY/capjax:TAG .
#   docker run -v "$PWD/runs:/runs" REPOSITORY/capjax:TAG --config configs/shapes.py --workdir /runs/shapes ...
#
# EXTRAS are extras of pyproject.toml: tensorboard (CPU), tpu,tensorboard or cuda,tensorboard. For data preparation:
# docker run --entrypoint python REPOSITORY/capjax:TAG -m data_prep ...
ARG PYTHON=3.11.13
FROM python:${PYTHON}-slim-bookworm
ARG EXTRAS=tensorboard
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /app

# With empty packages this layer depends on pyproject.toml only, and changes of the code do not rebuild it.
COPY pyproject.toml README.md LICENSE ./
RUN mkdir capjax data_prep \
    && touch capjax/__init__.py data_prep/__init__.py \
    && python -m pip install --editable ".[${EXTRAS}]"

COPY launch.py ./
COPY configs configs
COPY data_prep data_prep
COPY capjax capjax

# JAX keeps its compilation cache in the home directory.
RUN useradd --create-home --uid 1000 capjax
USER 1000:1000
ENTRYPOINT ["python", "launch.py"]
