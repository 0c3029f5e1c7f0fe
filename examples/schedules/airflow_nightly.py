"""The nightly job as an Airflow DAG: submitted to a cluster that stays, followed to its end, tried again after a fault.

Airflow 3 with its standard provider, and Latentmill in the same environment. The variable `ray_address` is the
cluster's, as in http://head:8265. The folder /opt/pictures has the job file, whose source and sink are URIs.
"""

from datetime import datetime, timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

with DAG(
    "nightly_pictures",
    schedule="0 2 * * *",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
):
    BashOperator(
        task_id="nightly",
        cwd="/opt/pictures",
        bash_command="latentmill submit nightly.yaml --address {{ var.value.ray_address }} --follow",
        retries=3,
        retry_delay=timedelta(minutes=5),
    )
