"""Runs the code of docs/orms.md for Django: `migrate NAME`, or `use`, which prints what each token sees as JSON."""

import json
import os
import sys
import traceback

import django
from django.conf import settings

import settings as of_document

settings.configure(DATABASES=of_document.DATABASES, INSTALLED_APPS=["shop"])
django.setup()

from django.core.management import call_command

if sys.argv[1] == "migrate":
    call_command("migrate", "shop", sys.argv[2], verbosity=0)
    sys.exit()

from shop.identity import identity
from shop.models import Invoice


def numbers():
    return sorted(Invoice.objects.values_list("number", flat=True))


for token, number in zip(sys.argv[2::2], sys.argv[3::2]):
    try:
        with identity(token):
            Invoice.objects.create(number=number)
            print(json.dumps(numbers()))
    except django.db.Error:
        print(json.dumps(traceback.format_exc()))
print(json.dumps(numbers()))
