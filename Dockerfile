# The demo, without a GPU: docker build --tag lossbench . && docker run --rm lossbench
FROM python:3.13-slim
WORKDIR /lossbench
COPY pyproject.toml README.md LICENSE ./
COPY lossbench lossbench
COPY hydra_plugins hydra_plugins
COPY conf conf
RUN pip install --no-cache-dir .
RUN useradd --create-home user && mkdir results && chown user results
USER user
VOLUME /lossbench/results
# The two commands of scripts/demo; any other is docker run --rm lossbench lossbench …
CMD ["sh", "-c", "lossbench train loss=label_smoothing loss.epsilon=0,0.05,0.1,0.2 'seed=range(3)' results_dir=results/demo && lossbench report --results-dir results/demo"]
