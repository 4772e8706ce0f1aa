# Image for serving: an exported model in TensorFlow Serving. The build context is the folder that --mode=export wrote.
#
#   docker build -f launch/docker/serving.Dockerfile -t REPOSITORY/captions:TAG runs/mine/export
#   docker run -p 8500:8500 -p 8501:8501 REPOSITORY/captions:TAG
#
# gRPC listens on 8500 and REST on 8501, at /v1/models/captions (--build-arg MODEL=NAME for another name).
ARG SERVING=2.21.0
FROM tensorflow/serving:${SERVING}
ARG MODEL=captions
ENV MODEL_NAME=${MODEL} MODEL_BASE_PATH=/models
COPY . /models/${MODEL}/1
USER 1000:1000
EXPOSE 8500 8501
