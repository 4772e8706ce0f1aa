# An exported model in TensorFlow Serving. The folder given is the export: WORKDIR/export of --mode=export.
#
#   docker build -f launch/docker/serving.Dockerfile -t REPOSITORY/captions:TAG runs/mine/export
#   docker run -p 8500:8500 -p 8501:8501 REPOSITORY/captions:TAG
#
# gRPC is on 8500; REST on 8501, under /v1/models/captions (--build-arg MODEL=NAME for another name).
ARG SERVING=2.21.0
FROM tensorflow/serving:${SERVING}
ARG MODEL=captions
ENV MODEL_NAME=${MODEL} MODEL_BASE_PATH=/models
COPY . /models/${MODEL}/1
USER 1000:1000
EXPOSE 8500 8501
